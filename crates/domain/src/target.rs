//! Target policy: what an edge may be asked for.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::refusal::{Code, Refusal};

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

/// The target of a CONNECT: `host:port`, IPv6 in brackets, port required.
///
/// # Errors
/// `REQUEST_INVALID` if malformed, `DEST_BLOCKED` for odd numeric forms.
pub fn parse_authority(s: &str) -> Result<Target, Refusal> {
    let _ = s;
    Err(Refusal::new(Code::RequestInvalid, "not host:port"))
}

/// A host without a port (SOCKS5, the Host of an absolute-form request).
///
/// # Errors
/// As [`parse_authority`].
pub fn parse_host(s: &str) -> Result<Host, Refusal> {
    let _ = s;
    Err(Refusal::new(Code::RequestInvalid, "not a host"))
}

/// What is refused beyond the special address ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Names refused, each with everything below it.
    pub denied_names: Vec<String>,
    /// Ports refused.
    pub denied_ports: Vec<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { denied_names: vec![], denied_ports: vec![25] }
    }
}

impl Policy {
    /// Whether an upstream may be asked for `target`. Names pass unresolved.
    ///
    /// # Errors
    /// `DEST_BLOCKED`.
    pub fn check_through_upstream(&self, target: &Target) -> Result<(), Refusal> {
        let _ = target;
        Ok(())
    }
}

/// Whether we may dial `ip` ourselves.
///
/// # Errors
/// `DEST_BLOCKED`.
pub fn check_dial_address(ip: IpAddr, allow: &[IpNet]) -> Result<(), Refusal> {
    let _ = (ip, allow);
    Ok(())
}
