use proptest::prelude::*;
use tollgate_domain::refusal::Code;

use super::super::udp::*;
use super::*;

fn datagram(address: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 0], address, payload].concat()
}

#[test]
fn a_datagram_is_its_target_and_its_payload() {
    for (address, is) in [
        (v4([192, 0, 2, 1], 53), "192.0.2.1:53"),
        (v6("2001:db8::1", 53), "[2001:db8::1]:53"),
        (name(b"DNS.test.", 53), "dns.test:53"),
    ] {
        for payload in [&b""[..], b"query", &[0; 65_000]] {
            let whole = datagram(&address, payload);
            assert_eq!(decode(&whole), Ok((target(is), payload)));
        }
        let header = datagram(&address, b"");
        for n in 0..header.len() {
            assert_eq!(decode(&header[..n]), Err(Dropped::Malformed), "{n} bytes");
        }
    }
}

#[test]
fn fragments_and_strange_headers_are_dropped() {
    let good = datagram(&v4([192, 0, 2, 1], 53), b"query");
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    for byte in 1..=u8::MAX {
        assert_eq!(decode(&with(0, byte)), Err(Dropped::Malformed));
        assert_eq!(decode(&with(1, byte)), Err(Dropped::Malformed));
        assert_eq!(decode(&with(2, byte)), Err(Dropped::Fragment));
    }
    for kind in (0..=u8::MAX).filter(|k| !matches!(k, 1 | 3 | 4)) {
        assert_eq!(decode(&with(3, kind)), Err(Dropped::Malformed), "type {kind}");
    }
    assert_eq!(decode(&datagram(&v4([192, 0, 2, 1], 0), b"query")), Err(Dropped::Malformed), "port 0");
    for (host, code) in [
        (&b""[..], Code::RequestInvalid),
        (b"a\0b", Code::RequestInvalid),
        (b"fe80::1%1", Code::RequestInvalid),
        (b"0x7f.1", Code::DestBlocked),
    ] {
        match decode(&datagram(&name(host, 53), b"query")) {
            Err(Dropped::Target(refusal)) => assert_eq!(refusal.code, code),
            other => panic!("{host:?}: {other:?}"),
        }
    }
}

#[test]
fn a_header_that_does_not_fit_is_not_begun() {
    let mut out = b"kept".to_vec();
    for n in [0, 256] {
        let long = Target { host: Host::Name("x".repeat(n)), port: 53 };
        assert_eq!(encode_header(&mut out, &long), None);
        assert_eq!(out, b"kept");
    }
    let longest = Target { host: Host::Name("x".repeat(255)), port: 53 };
    assert_eq!(encode_header(&mut out, &longest), Some(()));
    assert_eq!(out.len(), 4 + MAX_UDP_HEADER);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(ip in any::<std::net::IpAddr>(), port in 1u16.., label in "[a-z][a-z0-9-]{0,62}", payload in prop::collection::vec(any::<u8>(), 0..50)) {
        for host in [Host::Ip(ip), Host::Name(label)] {
            let target = Target { host, port };
            let mut out = Vec::new();
            prop_assert_eq!(encode_header(&mut out, &target), Some(()));
            prop_assert!(out.len() <= MAX_UDP_HEADER);
            out.extend_from_slice(&payload);
            prop_assert_eq!(decode(&out), Ok((target, &payload[..])));
        }
    }
}
