//! Reading what a client wrote: `host:port`, or a host alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Target, blocked};
use crate::refusal::{Code, Refusal};

/// Longest name, in bytes without the trailing dot (RFC 1035).
const NAME_MAX: usize = 253;
/// Longest label of a name, in bytes.
const LABEL_MAX: usize = 63;
/// Longest authority that is looked at: a name, a trailing dot, a colon, five digits.
const AUTHORITY_MAX: usize = NAME_MAX + 7;

/// The target of a CONNECT: `host:port`, IPv6 in brackets, port required.
///
/// ```
/// use tollgate_domain::target::parse_authority;
/// assert_eq!(parse_authority("Example.COM.:443")?.to_string(), "example.com:443");
/// assert!(parse_authority("example.com").is_err());
/// # Ok::<(), tollgate_domain::refusal::Refusal>(())
/// ```
///
/// # Errors
/// `REQUEST_INVALID` if malformed (no port, user info, zone id, white space, a name too long),
/// `DEST_BLOCKED` for a number that some resolvers would take for an address (`0x7f.1`).
pub fn parse_authority(s: &str) -> Result<Target, Refusal> {
    plain(s)?;
    let (host, port) = s.rsplit_once(':').ok_or_else(|| malformed("the port is missing: write host:port"))?;
    Ok(Target { host: host_of(host)?, port: port_of(port)? })
}

/// A host without a port, as SOCKS5 and the `Host` of a request have it; IPv6 in brackets.
///
/// # Errors
/// As [`parse_authority`].
pub fn parse_host(s: &str) -> Result<Host, Refusal> {
    plain(s)?;
    host_of(s)
}

/// Refuses what no form of host contains, so that nothing is cut off or reinterpreted later.
fn plain(s: &str) -> Result<(), Refusal> {
    if s.len() > AUTHORITY_MAX {
        return Err(malformed(format!("{} bytes are too many for host:port", s.len())));
    }
    if s.contains('@') {
        return Err(malformed("user info is not allowed before the host"));
    }
    if s.contains('%') {
        return Err(malformed("zone ids and percent-encoding are not allowed in the host"));
    }
    match s.bytes().find(|b| !b.is_ascii_graphic()) {
        None => Ok(()),
        Some(b) if b.is_ascii() => Err(malformed("white space and control characters are not allowed in the host")),
        Some(_) => Err(malformed("write international names in their xn-- form")),
    }
}

fn port_of(s: &str) -> Result<u16, Refusal> {
    let digits = (1..=5).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit()) && !s.starts_with('0');
    if digits { s.parse().ok() } else { None }.ok_or_else(|| malformed("the port must be a number from 1 to 65535"))
}

fn host_of(s: &str) -> Result<Host, Refusal> {
    if let Some(inner) = s.strip_prefix('[') {
        let ip = inner.strip_suffix(']').and_then(|ip| ip.parse::<Ipv6Addr>().ok());
        return ip.map(|ip| Host::Ip(IpAddr::V6(ip))).ok_or_else(|| malformed("not an IPv6 address in brackets"));
    }
    if s.contains(':') {
        return Err(malformed("write IPv6 addresses in brackets"));
    }
    // Only the plain dotted quad: the parser takes no octal, hexadecimal or short form.
    if let Ok(ip) = s.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    name(s).map(Host::Name)
}

fn name(s: &str) -> Result<String, Refusal> {
    let s = s.strip_suffix('.').unwrap_or(s);
    if s.is_empty() || s.len() > NAME_MAX {
        return Err(malformed(format!("a host name has 1 to {NAME_MAX} characters")));
    }
    for label in s.split('.') {
        // Underscores and hyphens at the ends are against the letter of RFC 1123, but exist.
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(malformed("a host name is made of letters, digits, hyphens and dots"));
        }
        if label.is_empty() || label.len() > LABEL_MAX {
            return Err(malformed(format!("each part of a host name has 1 to {LABEL_MAX} characters")));
        }
    }
    if s.rsplit('.').next().is_some_and(numeric) {
        return Err(blocked("write IPv4 addresses as four decimal numbers; other numeric forms are not allowed"));
    }
    Ok(s.to_ascii_lowercase())
}

/// Whether a name that ends in this label is an address to `inet_aton` or a browser; no
/// top-level domain is.
fn numeric(label: &str) -> bool {
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}
