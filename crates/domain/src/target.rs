//! Target policy: what an edge may be asked for, and what we may dial ourselves.
//!
//! Through an upstream, names pass unresolved (the provider resolves them) and literals are
//! judged. Where we dial ourselves, the caller resolves, asks [`check_dial_address`] for each
//! address, and dials exactly that address.

use std::fmt;
use std::net::IpAddr;

use crate::refusal::{Code, Refusal};

mod address;
mod authority;
mod rules;
#[cfg(test)]
mod tests;

pub use address::{check_dial_address, special_range};
pub use authority::{parse_authority, parse_host};
pub use rules::{InvalidRules, TargetRules};

/// The host of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, lower case, without a trailing dot.
    Name(String),
    /// An address literal.
    Ip(IpAddr),
}

/// What a client wants to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub host: Host,
    /// Which port, 1–65535.
    pub port: u16,
}

/// As in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// As the authority of a CONNECT.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Names that mean the machine or network of whoever resolves them, each with all below it.
const LOCAL_NAMES: [&str; 9] = [
    "home.arpa",
    "instance-data",
    "internal", // metadata.google.internal, *.ec2.internal
    "ip6-localhost",
    "ip6-loopback",
    "local",
    "localdomain",
    "localhost",
    "metadata",
];

/// What an operator refuses beyond special addresses and local names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Names refused, each with everything below it; `*.` in front changes nothing.
    pub denied_names: Vec<String>,
    /// Ports refused.
    pub denied_ports: Vec<u16>,
}

/// No name; port 25, so that nobody sends spam.
impl Default for Policy {
    fn default() -> Self {
        Self { denied_names: Vec::new(), denied_ports: vec![25] }
    }
}

impl Policy {
    /// Whether an upstream may be asked for `target`. Names are judged as names, unresolved.
    ///
    /// # Errors
    /// `DEST_BLOCKED` with what is not allowed.
    pub fn check_through_upstream(&self, target: &Target) -> Result<(), Refusal> {
        if self.denied_ports.contains(&target.port) {
            return Err(blocked(format!("port {} is not allowed", target.port)));
        }
        match &target.host {
            Host::Ip(ip) => check_dial_address(*ip, &[]),
            Host::Name(name) => {
                let denied = self.denied_names.iter().map(String::as_str);
                match LOCAL_NAMES.into_iter().chain(denied).find(|rule| covers(rule, name)) {
                    Some(rule) => Err(blocked(format!("names at or below {rule:?} are not allowed"))),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Whether `name` is the rule's name or below it.
fn covers(rule: &str, name: &str) -> bool {
    let rule = rule.trim_start_matches("*.").trim_matches('.');
    let Some(at) = name.len().checked_sub(rule.len()) else { return false };
    let (below, end) = (name.get(..at).unwrap_or("x"), name.get(at..).unwrap_or_default());
    !rule.is_empty() && end.eq_ignore_ascii_case(rule) && (below.is_empty() || below.ends_with('.'))
}

fn blocked(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::DestBlocked, detail)
}
