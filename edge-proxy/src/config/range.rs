//! Where the edge may dial targets itself although they are in a special range.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A range of addresses, at one port or at all of them: `10.1.0.0/16:443`, `fd00::/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetRange {
    /// The addresses.
    pub net: IpNet,
    /// The port; none = all.
    pub port: Option<u16>,
}

/// A text that is no [`TargetRange`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write <address>/<prefix length>, then :<port> if only one is meant")]
pub struct InvalidRange;

impl TargetRange {
    /// Whether `address` is in it. An IPv4 address in IPv6's form is looked at as what it is.
    #[must_use]
    pub fn contains(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        self.port.is_none_or(|port| port == address.port())
            && (self.net.contains(&ip.to_canonical()) || self.net.contains(&ip))
    }
}

impl FromStr for TargetRange {
    type Err = InvalidRange;

    fn from_str(s: &str) -> Result<Self, InvalidRange> {
        // Colons before the slash are the address's own.
        let (address, rest) = s.split_once('/').ok_or(InvalidRange)?;
        let (length, port) = match rest.split_once(':') {
            None => (rest, None),
            Some((length, port)) => {
                let port = Some(port).filter(|p| p.bytes().all(|b| b.is_ascii_digit())).and_then(|p| p.parse().ok());
                (length, Some(port.filter(|p| *p > 0).ok_or(InvalidRange)?))
            }
        };
        let net = format!("{address}/{length}").parse().map_err(|_| InvalidRange)?;
        Ok(Self { net, port })
    }
}

impl fmt::Display for TargetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.net),
            None => write!(f, "{}", self.net),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_round_trip_and_hold_what_they_say() {
        for (text, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255:80", "10.2.0.0:80"),
            ("10.1.0.0/16:443", "10.1.0.0:443", "10.1.0.0:444"),
            ("10.1.0.0/16:443", "[::ffff:10.1.2.3]:443", "[::ffff:10.0.2.3]:443"),
            ("fd00::/8", "[fd12::1]:1", "[fe00::1]:1"),
            ("fd00::/8:53", "[fd12::1]:53", "[fd12::1]:54"),
        ] {
            let range: TargetRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
            assert!(range.contains(inside.parse().unwrap()), "{text}: {inside}");
            assert!(!range.contains(outside.parse().unwrap()), "{text}: {outside}");
        }
        for bad in ["", "10.1.0.0", "10.1.0.0:443", "10.1.0.0/33", "10.1.0.0/16:", "10.1.0.0/16:0", "10.1.0.0/16:+1"] {
            assert_eq!(bad.parse::<TargetRange>(), Err(InvalidRange), "{bad}");
        }
    }
}
