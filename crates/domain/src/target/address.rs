//! Address ranges that are nobody's public host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::blocked;
use crate::refusal::Refusal;

/// Address, prefix length, what the range is for.
type Range<A> = (A, u8, &'static str);

const V4: [Range<Ipv4Addr>; 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by carriers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local and metadata"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "protocol assignments"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved and broadcast"),
];

/// Mapped addresses are judged as the IPv4 address they hold. Ranges that carry an IPv4 address
/// elsewhere (NAT64, IPv4-translated, 6to4, Teredo) are refused whole: who unwraps them decides where they lead.
const V6: [Range<Ipv6Addr>; 17] = [
    (v6(0, 0, 0), 96, "unspecified, loopback and IPv4-compatible"),
    (Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96, "IPv4-translated"),
    (v6(0x64, 0xff9b, 0), 96, "NAT64"),
    (v6(0x64, 0xff9b, 1), 48, "local NAT64"),
    (v6(0x100, 0, 0), 64, "discard"),
    (v6(0x2001, 0, 0), 32, "Teredo"),
    (v6(0x2001, 2, 0), 48, "benchmarking"),
    (v6(0x2001, 0x10, 0), 28, "identifiers, not addresses"),
    (v6(0x2001, 0x20, 0), 28, "identifiers, not addresses"),
    (v6(0x2001, 0xdb8, 0), 32, "documentation"),
    (v6(0x2002, 0, 0), 16, "6to4"),
    (v6(0x3fff, 0, 0), 20, "documentation"),
    (v6(0x5f00, 0, 0), 16, "segment routing"),
    (v6(0xfc00, 0, 0), 7, "unique local and metadata"),
    (v6(0xfe80, 0, 0), 10, "link-local"),
    (v6(0xfec0, 0, 0), 10, "site-local"),
    (v6(0xff00, 0, 0), 8, "multicast"),
];

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

/// What the special range is for that `ip` is in: private, loopback, documentation, multicast ...
/// None = a public address.
#[must_use]
pub fn special_range(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            V4.iter().find(|(net, len, _)| (ip.to_bits() ^ net.to_bits()).leading_zeros() >= (*len).into()).map(|r| r.2)
        }
        IpAddr::V6(ip) => {
            V6.iter().find(|(net, len, _)| (ip.to_bits() ^ net.to_bits()).leading_zeros() >= (*len).into()).map(|r| r.2)
        }
    }
}

/// Whether `ip` may be dialled: any public address, and what an operator allows.
///
/// # Errors
/// `DEST_BLOCKED` with the range.
pub fn check_dial_address(ip: IpAddr, allow: &[IpNet]) -> Result<(), Refusal> {
    let judged = ip.to_canonical();
    if allow.iter().any(|net| net.contains(&judged) || net.contains(&ip)) {
        return Ok(());
    }
    match special_range(judged) {
        Some(what) => Err(blocked(format!("{ip} is in a range that is not allowed ({what})"))),
        None => Ok(()),
    }
}
