//! Allow-lists: source addresses that name a customer without a password.
//!
//! Entries are networks ([`AllowNet`]), small enough that all entries of all customers inside one
//! block of addresses ([`Block`]: an IPv4 /24, an IPv6 /48) fit one item ([`AllowBlock`]). So who
//! knows an address knows the one item to read, and the longest prefix in it names the customer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::target::special_range;

mod block;
#[cfg(test)]
mod tests;

pub use block::{AllowBlock, AllowEntry, Listed, Unlistable};

/// Prefix length of the block of an IPv4 address: the widest IPv4 entry.
const V4_BLOCK: u8 = 24;
/// Prefix length of the block of an IPv6 address: the widest IPv6 entry.
const V6_BLOCK: u8 = 48;
/// Bits of an IPv4-mapped IPv6 address before the IPv4 address (RFC 4291 section 2.5.5.2).
const MAPPED: u8 = 96;
/// Longest text that is looked at: an address of eight groups, a slash, three digits, and room.
const LONGEST: usize = 64;

/// A network of source addresses: IPv4 /24–/32 or IPv6 /48–/128, without host bits. One address
/// is a /32 or a /128; IPv4-mapped IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AllowNet(IpNet);

/// Why a text is no [`AllowNet`], in words that say what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNet {
    /// Neither an address nor `address/length`.
    #[error("write an address or a network, as 203.0.113.7, 203.0.113.0/28 or 2001:db8:1::/64")]
    Malformed,
    /// Too many addresses.
    #[error("a network may be at most an IPv4 /24 or an IPv6 /48")]
    TooWide,
    /// Bits beyond the prefix are set; the network that holds the address is named.
    #[error("this is an address in a network: write {0} for the network, or the address alone")]
    HostBits(AllowNet),
    /// Nobody's source on this installation; the range is named.
    #[error("this is in a range that is not allowed ({0})")]
    Special(&'static str),
}

impl AllowNet {
    /// The network of this one address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        Self(IpNet::from(ip.to_canonical()))
    }

    /// The block that holds all of it.
    #[must_use]
    pub fn block(&self) -> Block {
        Block::of(self.0.network())
    }

    /// Prefix length: the longer, the fewer addresses.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether `ip` is one of its addresses; IPv4-mapped IPv6 is judged as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }

    /// Whether an address is in both. Of two networks that overlap, one holds the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.contains(&other.0) || other.0.contains(&self.0)
    }

    /// Whether it may be anybody's source. Special ranges (private, loopback, carriers' ...) are
    /// many people's at once, or nobody's: they pass where an operator says so (`allow_private`).
    /// What can be no source at all (multicast, unspecified, reserved) never passes.
    ///
    /// # Errors
    /// [`InvalidNet::Special`] with the range.
    pub fn check_source(&self, allow_private: bool) -> Result<(), InvalidNet> {
        // No special range is smaller than a /48 or a /24 and lies inside one without touching an end.
        let found = [self.0.network(), self.0.broadcast()].into_iter().find_map(|ip| Some((ip, special_range(ip)?)));
        match found {
            Some((ip, what)) if !allow_private || no_source(ip) => Err(InvalidNet::Special(what)),
            _ => Ok(()),
        }
    }
}

/// Whether packets from `ip` mean nothing anywhere.
fn no_source(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.octets()[0] >= 224,
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_multicast(),
    }
}

/// `address/length`, always with the length.
impl fmt::Display for AllowNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for AllowNet {
    type Err = InvalidNet;
    fn from_str(s: &str) -> Result<Self, InvalidNet> {
        if s.len() > LONGEST {
            return Err(InvalidNet::Malformed);
        }
        let (addr, len) = match s.split_once('/') {
            None => (s, None),
            Some((addr, len)) => (addr, Some(length(len)?)),
        };
        // The parser takes no octal, short or hexadecimal form, no zone and no brackets.
        let addr: IpAddr = addr.parse().map_err(|_| InvalidNet::Malformed)?;
        let net = match (addr.to_canonical(), addr) {
            (IpAddr::V4(ip), IpAddr::V6(_)) => {
                v4(ip, len.unwrap_or(128).checked_sub(MAPPED).ok_or(InvalidNet::TooWide)?)?
            }
            (IpAddr::V4(ip), _) => v4(ip, len.unwrap_or(32))?,
            (IpAddr::V6(ip), _) => v6(ip, len.unwrap_or(128))?,
        };
        if net.addr() == net.network() {
            return Ok(Self(net));
        }
        Err(InvalidNet::HostBits(Self(net.trunc())))
    }
}

fn length(s: &str) -> Result<u8, InvalidNet> {
    let digits =
        (1..=3).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit()) && (s == "0" || !s.starts_with('0'));
    if digits { s.parse().ok() } else { None }.ok_or(InvalidNet::Malformed)
}

fn v4(ip: Ipv4Addr, len: u8) -> Result<IpNet, InvalidNet> {
    let net = Ipv4Net::new(ip, len).map_err(|_| InvalidNet::Malformed)?;
    if len < V4_BLOCK { Err(InvalidNet::TooWide) } else { Ok(net.into()) }
}

fn v6(ip: Ipv6Addr, len: u8) -> Result<IpNet, InvalidNet> {
    let net = Ipv6Net::new(ip, len).map_err(|_| InvalidNet::Malformed)?;
    if len < V6_BLOCK { Err(InvalidNet::TooWide) } else { Ok(net.into()) }
}

impl TryFrom<String> for AllowNet {
    type Error = InvalidNet;
    fn try_from(s: String) -> Result<Self, InvalidNet> {
        s.parse()
    }
}

impl From<AllowNet> for String {
    fn from(net: AllowNet) -> String {
        net.to_string()
    }
}

/// A block of addresses whose entries are kept together: an IPv4 /24 or an IPv6 /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Block(AllowNet);

impl Block {
    /// The block of an address; IPv4-mapped IPv6 is IPv4.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        Self(AllowNet(match ip.to_canonical() {
            IpAddr::V4(ip) => Ipv4Net::new_assert(ip, V4_BLOCK).trunc().into(),
            IpAddr::V6(ip) => Ipv6Net::new_assert(ip, V6_BLOCK).trunc().into(),
        }))
    }
}

/// As the network that it is.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Block {
    type Err = InvalidNet;
    fn from_str(s: &str) -> Result<Self, InvalidNet> {
        let net: AllowNet = s.parse()?;
        let block = net.block();
        if block.0 == net { Ok(block) } else { Err(InvalidNet::Malformed) }
    }
}

impl TryFrom<String> for Block {
    type Error = InvalidNet;
    fn try_from(s: String) -> Result<Self, InvalidNet> {
        s.parse()
    }
}

impl From<Block> for String {
    fn from(block: Block) -> String {
        block.to_string()
    }
}
