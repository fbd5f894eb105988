use std::fmt::Debug;
use std::net::SocketAddr;

use tollgate_domain::target::{Host, Target, parse_authority};

use super::*;

mod client;
mod server;
mod udp;

/// The frame is complete at its last byte and not before, and what follows it is left.
fn exactly<T: Debug + PartialEq, E: Debug + PartialEq>(
    read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
    frame: &[u8],
    value: T,
) {
    for n in 0..frame.len() {
        assert_eq!(read(&frame[..n]), Ok(None), "{n} bytes of {frame:02x?}");
    }
    let expected = Ok(Some((value, frame.len())));
    for more in [&b""[..], &[0], &[5, 1, 0], frame, &[0xFF; 600]] {
        assert_eq!(read(&[frame, more].concat()), expected, "{frame:02x?}");
    }
}

/// The frame is refused at its last byte and not before, and more changes nothing.
fn refused_at_end<T: Debug + PartialEq, E: Debug + PartialEq>(
    read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
    frame: &[u8],
) -> E {
    for n in 0..frame.len() {
        assert_eq!(read(&frame[..n]), Ok(None), "{n} bytes of {frame:02x?}");
    }
    let error = read(frame).expect_err(&format!("{frame:02x?}"));
    assert_eq!(read(&[frame, &[0; 300]].concat()).as_ref(), Err(&error));
    error
}

fn target(s: &str) -> Target {
    parse_authority(s).unwrap()
}

fn socket(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

/// ATYP 3, an address and a port.
fn name(name: &[u8], port: u16) -> Vec<u8> {
    [&[3, u8::try_from(name.len()).unwrap()], name, &port.to_be_bytes()].concat()
}

fn v4(ip: [u8; 4], port: u16) -> Vec<u8> {
    [&[1][..], &ip, &port.to_be_bytes()].concat()
}

fn v6(ip: &str, port: u16) -> Vec<u8> {
    [&[4][..], &ip.parse::<std::net::Ipv6Addr>().unwrap().octets(), &port.to_be_bytes()].concat()
}
