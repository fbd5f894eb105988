//! ATYP, address, port: the form of address in requests, replies and datagrams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tollgate_domain::target::Host;

const V4: u8 = 0x01;
const NAME: u8 = 0x03;
const V6: u8 = 0x04;

/// An address as it is written: a name is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Ip(IpAddr),
    /// 0–255 bytes of anything.
    Name(&'a [u8]),
}

/// An address type that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownType;

/// Address, port, and the bytes they take.
pub(super) type Read<'a> = (Raw<'a>, u16, usize);

/// Reads an address at the start of `buf`; `None` = not complete.
pub(super) fn read(buf: &[u8]) -> Result<Option<Read<'_>>, UnknownType> {
    let Some((kind, rest)) = buf.split_first() else { return Ok(None) };
    let found = match *kind {
        V4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (Raw::Ip(Ipv4Addr::from(*ip).into()), rest)),
        V6 => rest.split_first_chunk::<16>().map(|(ip, rest)| (Raw::Ip(Ipv6Addr::from(*ip).into()), rest)),
        NAME => rest
            .split_first()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)))
            .map(|(name, rest)| (Raw::Name(name), rest)),
        _ => return Err(UnknownType),
    };
    Ok(found.and_then(|(host, rest)| {
        let (port, rest) = rest.split_first_chunk::<2>()?;
        Some((host, u16::from_be_bytes(*port), buf.len() - rest.len()))
    }))
}

/// Appends an IP address and a port.
pub(super) fn write_socket(out: &mut Vec<u8>, at: SocketAddr) {
    match at.ip() {
        IpAddr::V4(ip) => {
            out.push(V4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(V6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&at.port().to_be_bytes());
}

/// Appends a host and a port; `None` if a name is empty or longer than 255 bytes, and then
/// nothing is appended.
pub(super) fn write(out: &mut Vec<u8>, host: &Host, port: u16) -> Option<()> {
    match host {
        Host::Ip(ip) => write_socket(out, SocketAddr::new(*ip, port)),
        Host::Name(name) => {
            let length = u8::try_from(name.len()).ok().filter(|n| *n > 0)?;
            out.extend_from_slice(&[NAME, length]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&port.to_be_bytes());
        }
    }
    Some(())
}
