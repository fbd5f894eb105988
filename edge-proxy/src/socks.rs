//! SOCKS5 (RFC 1928, RFC 1929) as functions over bytes; sans IO.
//!
//! Every reader is given all that was received so far and not yet read. `Ok(None)` means that more
//! must come; `Ok(Some((value, n)))` is a whole frame of `n` bytes, and what follows is untouched.
//! An answer never changes when more arrives. No frame is longer than [`MAX_FRAME`].
//!
//! - `server`: what clients send to us, and our answers.
//! - `client`: what we send to a SOCKS5 upstream, and its answers.
//! - `udp`: the header of each datagram, both ways.
//! - `address`: the one form of address that all of them contain.

mod address;
pub(crate) mod client;
pub(crate) mod server;
pub(crate) mod udp;

#[cfg(test)]
mod tests;

/// Version of the protocol (RFC 1928).
const VERSION: u8 = 0x05;
/// Version of user/password authentication (RFC 1929).
const AUTH_VERSION: u8 = 0x01;

/// Longest frame of a handshake, in bytes: user name and password of 255 bytes each.
pub(crate) const MAX_FRAME: usize = 3 + 255 + 255;

/// Most bytes of the header before a datagram's payload: a name of 255 bytes.
pub(crate) const MAX_UDP_HEADER: usize = 3 + 1 + 1 + 255 + 2;

/// The whole answer to SOCKS4 (and 4a): request rejected. Its version byte is 0.
pub(crate) const SOCKS4_REFUSAL: [u8; 8] = [0x00, 0x5B, 0, 0, 0, 0, 0, 0];

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not at all.
    None,
    /// User name and password (RFC 1929).
    Password,
}

impl Method {
    fn code(self) -> u8 {
        match self {
            Self::None => 0x00,
            Self::Password => 0x02,
        }
    }
}

/// Reply codes (RFC 1928 section 6).
pub(crate) mod reply {
    /// Done.
    pub(crate) const SUCCEEDED: u8 = 0x00;
    /// It could not be done.
    pub(crate) const GENERAL_FAILURE: u8 = 0x01;
    /// The rules say no.
    pub(crate) const NOT_ALLOWED: u8 = 0x02;
    /// No way to the target's network.
    pub(crate) const NETWORK_UNREACHABLE: u8 = 0x03;
    /// No way to the target.
    pub(crate) const HOST_UNREACHABLE: u8 = 0x04;
    /// The target refused.
    pub(crate) const CONNECTION_REFUSED: u8 = 0x05;
    /// The target did not answer in time.
    pub(crate) const TTL_EXPIRED: u8 = 0x06;
    /// BIND, a command that does not exist, or UDP where it cannot be carried.
    pub(crate) const COMMAND_NOT_SUPPORTED: u8 = 0x07;
    /// Neither IPv4, IPv6 nor a name.
    pub(crate) const ADDRESS_TYPE_NOT_SUPPORTED: u8 = 0x08;
}

/// Commands (RFC 1928 section 4).
mod command {
    pub(super) const CONNECT: u8 = 0x01;
    pub(super) const BIND: u8 = 0x02;
    pub(super) const UDP_ASSOCIATE: u8 = 0x03;
}
