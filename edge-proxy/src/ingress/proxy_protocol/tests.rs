use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::v2::{SIGNATURE, crc32c};
use super::*;

fn complete(length: usize, source: Option<&str>) -> Result<Parsed, Malformed> {
    Ok(Parsed::Complete { length, source: source.map(|s| s.parse().unwrap()) })
}

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE, &[command, family][..], &length, block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 9, 0xC7, 0x38, 0x01, 0xBB];

fn v6_block() -> Vec<u8> {
    let ip = |n: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).octets();
    [&ip(1)[..], &ip(2), &[0xC7, 0x38], &[0x01, 0xBB]].concat()
}

/// With a correct checksum as the last TLV.
fn summed(mut block: Vec<u8>) -> Vec<u8> {
    block.extend(tlv(3, &[0; 4]));
    let mut header = v2(0x21, 0x11, &block);
    let sum = !crc32c(!0, &header);
    let at = header.len() - 4;
    header[at..].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The header is read, not one byte earlier, and whatever follows it is left.
fn exactly(header: &[u8], source: Option<&str>) {
    for n in 0..header.len() {
        assert_eq!(parse(&header[..n]), Ok(Parsed::Incomplete), "{n} bytes of {header:02x?}");
    }
    for more in [&b""[..], b"\r\n", b"GET / HTTP/1.1\r\n", header, &[0; 5000]] {
        assert_eq!(parse(&[header, more].concat()), complete(header.len(), source), "{header:02x?}");
    }
}

fn refused(bytes: &[u8]) {
    assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
}

#[test]
fn lines_are_read_to_the_byte() {
    let long =
        "PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace("f...f", "ffff:ffff:ffff:ffff:ffff:ffff");
    for (line, source) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.9 51000 443\r\n", Some("192.0.2.1:51000")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0")),
        ("PROXY TCP6 2001:db8::1 2001:DB8::2 51000 443\r\n", Some("[2001:db8::1]:51000")),
        ("PROXY TCP6 :: ::1 1 2\r\n", Some("[::]:1")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("[::ffff:192.0.2.1]:1")),
        (&long, Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN \r\n", None),
        ("PROXY UNKNOWN ffff::1 not an address 65535 65535\r\n", None),
        (&format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16)), None),
    ] {
        exactly(line.as_bytes(), source);
    }
}

#[test]
fn lines_that_are_not_exactly_so_are_malformed() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.9 51000 443\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 51000 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 51000 443\rx",
        "PROXY TCP4  192.0.2.1 198.51.100.9 51000 443\r\n",
        "PROXY TCP4 192.0.2.1  198.51.100.9 51000 443\r\n",
        "PROXY TCP4 192.0.2.1\t198.51.100.9 51000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 51000\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 051000 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 51000 00\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.9 -1 443\r\n",
        "PROXY TCP4 192.0.2 198.51.100.9 1 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.9 1 443\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.9 1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 443\r\n",
        "PROXY TCP4 192.0.2.1 ::1 1 443\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.1 1 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        "PROXY TCP6 [::1] ::1 1 443\r\n",
        "PROXY TCP6 :::1 ::1 1 443\r\n",
        "PROXY TCP5 ::1 ::1 1 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.9 51000 443\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.9 51000 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY UNKNOWN x\n",
        "PROXY UNKNOWN x\0\r\n",
        "PROXY UNKNOWN x\rx\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXY\r\n",
        "proxy TCP4 192.0.2.1 198.51.100.9 51000 443\r\n",
        " PROXY TCP4 192.0.2.1 198.51.100.9 51000 443\r\n",
        "POST / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\n",
        "\r\nGET / HTTP/1.1\r\n\r\n",
        "\x05\x01\x00",
    ] {
        refused(line.as_bytes());
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(107 - 14));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(Parsed::Incomplete));
    refused(long.as_bytes());
    refused(format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15)).as_bytes());
    refused(format!("PROXY TCP4 {}", "1".repeat(16)).as_bytes());
    refused(b"PROXY TCP4 1.1.1.1 1.1.1.1 123456");
    // Never a number cut short: the end of a port is known only by what follows it.
    assert_eq!(parse(b"PROXY TCP4 1.1.1.1 1.1.1.1 1 6553"), Ok(Parsed::Incomplete));
}

#[test]
fn binary_headers_are_read_to_the_byte() {
    let with = |tlvs: &[Vec<u8>]| [&V4[..], &tlvs.concat()].concat();
    exactly(&v2(0x21, 0x11, &V4), Some("192.0.2.1:51000"));
    exactly(&v2(0x21, 0x21, &v6_block()), Some("[2001:db8::1]:51000"));
    exactly(&v2(0x21, 0x11, &with(&[tlv(0xEA, b"\x01vpce-1"), tlv(4, &[]), tlv(4, &[0; 7])])), Some("192.0.2.1:51000"));
    exactly(&summed(with(&[tlv(0xEA, b"\x01vpce-1")])), Some("192.0.2.1:51000"));
    // What has no IP stream leaves the peer's own address; its lengths count all the same.
    exactly(&v2(0x21, 0x12, &V4), None);
    exactly(&v2(0x21, 0x22, &v6_block()), None);
    exactly(&v2(0x21, 0x31, &[7; 216]), None);
    exactly(&v2(0x21, 0x32, &[7; 216]), None);
    exactly(&v2(0x21, 0x00, b""), None);
    exactly(&v2(0x21, 0x00, b"anything"), None);
    // LOCAL: whatever the rest says is skipped.
    exactly(&v2(0x20, 0x00, b""), None);
    exactly(&v2(0x20, 0x11, &V4), None);
    exactly(&v2(0x20, 0xFF, b"anything"), None);
    let most = MAX_LENGTH - 16 - V4.len() - 3;
    exactly(&v2(0x21, 0x11, &with(&[tlv(0xEA, &vec![1; most])])), Some("192.0.2.1:51000"));
}

#[test]
fn binary_headers_out_of_bounds_are_malformed_at_once() {
    let with = |tail: &[u8]| v2(0x21, 0x11, &[&V4[..], tail].concat());
    for command in (0..=u8::MAX).filter(|c| !matches!(c, 0x20 | 0x21)) {
        refused(&v2(command, 0x11, &V4)[..13]);
    }
    for family in (0..=u8::MAX).filter(|f| !matches!(f, 0 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32)) {
        refused(&v2(0x21, family, &V4)[..14]);
    }
    for (family, least) in [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)] {
        refused(&v2(0x21, family, &vec![0; least - 1])[..16]);
    }
    for command in [0x20, 0x21] {
        refused(&v2(command, 0x00, &[0; MAX_LENGTH - 15])[..16]);
        refused(&v2(command, 0x00, &[0; 65_535])[..16]);
    }
    refused(&with(&[0xEA])[..16]);
    refused(&with(&[0xEA, 0])[..16]);
    refused(&with(&[0xEA, 0, 1])[..31]);
    refused(&with(&[0xEA, 0xFF, 0xFF, 1, 2])[..31]);
    refused(&with(&[4, 0, 1, 0, 4, 0])[..16 + 12 + 3 + 1 + 3 - 1]);
}

#[test]
fn a_checksum_is_verified_where_there_is_one() {
    assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
    let good = summed(V4.to_vec());
    exactly(&good, Some("192.0.2.1:51000"));
    // The signature's and the lengths' bytes are refused for their own sake.
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let read = parse(&bad);
            let skipped = at == 12 && bit == 0; // LOCAL
            let longer = read == Ok(Parsed::Incomplete) && (14..16).contains(&at);
            // The type of the TLV itself: what is no checksum is not compared.
            let other_type = at == 28;
            let unspec = (at, bit) == (13, 0) || (at, bit) == (13, 4);
            assert!(read.is_err() || skipped || longer || other_type || unspec, "bit {bit} of byte {at}: {read:?}");
        }
    }
    let twice = [&V4[..], &tlv(3, &[0; 4]), &tlv(3, &[0; 4])].concat();
    refused(&v2(0x21, 0x11, &twice));
    refused(&v2(0x21, 0x11, &[&V4[..], &tlv(3, &[0; 3])].concat()));
    refused(&v2(0x21, 0x11, &[&V4[..], &tlv(3, &[0; 5])].concat()));
    refused(&v2(0x21, 0x11, &[&V4[..], &tlv(3, &[])].concat()));
}

fn headers() -> impl Strategy<Value = (Vec<u8>, Option<SocketAddr>)> {
    let line = (any::<[u8; 4]>(), any::<[u8; 16]>(), any::<bool>(), any::<u16>(), any::<u16>()).prop_map(
        |(four, six, first, a, b)| {
            let (name, ip) =
                if first { ("TCP4", Ipv4Addr::from(four).into()) } else { ("TCP6", Ipv6Addr::from(six).into()) };
            let source = SocketAddr::new(ip, a);
            (format!("PROXY {name} {ip} {ip} {a} {b}\r\n").into_bytes(), Some(source))
        },
    );
    let tlvs = prop::collection::vec((any::<u8>().prop_filter("a checksum", |t| *t != 3), 0usize..40), 0..5);
    let binary = (any::<[u8; 12]>(), tlvs).prop_map(|(block, tlvs)| {
        let tlvs: Vec<u8> = tlvs.iter().flat_map(|(kind, n)| tlv(*kind, &vec![*kind; *n])).collect();
        let ip = Ipv4Addr::new(block[0], block[1], block[2], block[3]);
        let source = SocketAddr::new(ip.into(), u16::from_be_bytes([block[8], block[9]]));
        (v2(0x21, 0x11, &[&block[..], &tlvs].concat()), Some(source))
    });
    prop_oneof![line, binary]
}

proptest! {
    #[test]
    fn a_header_is_complete_at_its_last_byte_and_not_before((header, source) in headers(), tail in any::<[u8; 9]>()) {
        for n in 0..header.len() {
            prop_assert_eq!(parse(&header[..n]), Ok(Parsed::Incomplete));
        }
        prop_assert_eq!(parse(&header), Ok(Parsed::Complete { length: header.len(), source }));
        let more = [&header[..], &tail].concat();
        prop_assert_eq!(parse(&more), Ok(Parsed::Complete { length: header.len(), source }));
    }

    #[test]
    fn a_wrong_byte_of_a_signature_is_malformed_at_once((header, _) in headers(), at in 0usize..12, wrong in any::<u8>()) {
        let signature = if header[0] == b'P' { 6 } else { 12 };
        let at = at % signature;
        prop_assume!(header[at] != wrong);
        // Another first byte may be that of the other version.
        prop_assume!(at > 0 || !matches!(wrong, b'P' | b'\r'));
        prop_assert!(parse(&[&header[..at], &[wrong]].concat()).is_err());
    }

    #[test]
    fn a_byte_that_no_line_has_is_malformed_at_once((header, _) in headers(), at in any::<prop::sample::Index>(), wrong in any::<u8>()) {
        prop_assume!(header[0] == b'P');
        prop_assume!(!wrong.is_ascii_hexdigit() && !b" .:\r\nPROXYTCP".contains(&wrong));
        let at = at.index(header.len());
        prop_assert!(parse(&[&header[..at], &[wrong]].concat()).is_err());
    }

    #[test]
    fn an_answer_never_changes_when_more_arrives(bytes in prop::collection::vec(any::<u8>(), 0..80), start in 0usize..4) {
        let starts: [&[u8]; 4] = [b"", b"PROXY ", b"PROXY TCP4 ", &SIGNATURE];
        let bytes = [starts[start], &bytes].concat();
        let whole = parse(&bytes);
        for n in 0..bytes.len() {
            let part = parse(&bytes[..n]);
            prop_assert!(part == Ok(Parsed::Incomplete) || part == whole, "{:?} then {:?}", part, whole);
        }
    }
}
