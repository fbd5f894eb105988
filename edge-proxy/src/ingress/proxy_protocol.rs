//! The PROXY protocol, versions 1 and 2: what a load balancer in front of us says about whose
//! connection it is (haproxy, `doc/proxy-protocol.txt`).
//!
//! Only a listener that expects the header, and only a peer that may send it, is read so. It is
//! never guessed: a connection without the header is malformed. Nothing else is read before the
//! header is complete.

mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

/// What the start of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// All is well so far, and more is to come.
    Incomplete,
    /// A whole header.
    Complete {
        /// Bytes it took; what follows is the client's.
        length: usize,
        /// The client's address. `None` where the balancer speaks for itself (LOCAL) or names no
        /// IP stream (UNKNOWN, UNSPEC, datagrams, Unix sockets): then it is the peer's own.
        source: Option<SocketAddr>,
    },
}

/// Not a header; the connection is to be closed without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PROXY header: {0}")]
pub(crate) struct Malformed(pub &'static str);

/// Most bytes of a header, its TLVs included; balancers send a few hundred.
pub(crate) const MAX_LENGTH: usize = 4096;

/// Reads the header at the start of `buf`, which holds all that was received so far. At most
/// [`MAX_LENGTH`] bytes are needed for an answer other than [`Parsed::Incomplete`].
///
/// # Errors
/// [`Malformed`] as soon as `buf` cannot begin a header.
pub(crate) fn parse(buf: &[u8]) -> Result<Parsed, Malformed> {
    match buf.first() {
        None => Ok(Parsed::Incomplete),
        Some(b'P') => v1::parse(buf),
        Some(b'\r') => v2::parse(buf),
        Some(_) => Err(Malformed("no signature")),
    }
}

/// Whether `buf` begins with all of `signature`; `false` while it may still do.
fn begins(buf: &[u8], signature: &[u8]) -> Result<bool, Malformed> {
    let n = buf.len().min(signature.len());
    if buf[..n] == signature[..n] { Ok(n == signature.len()) } else { Err(Malformed("no signature")) }
}
