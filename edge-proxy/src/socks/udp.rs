//! The header before each datagram's payload (RFC 1928 section 7).

use tollgate_domain::refusal::Refusal;
use tollgate_domain::target::Target;

use super::{address, server};

/// Why a datagram is dropped; nobody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// It ends within its header, or has reserved bits, an unknown address type or port 0.
    Malformed,
    /// It is a fragment, which we do not put together (RFC 1928 allows that).
    Fragment,
    /// Its address is not one that CONNECT would take.
    Target(Refusal),
}

/// Reads a datagram: where it goes, or came from, and its payload.
///
/// # Errors
/// Why it is dropped.
pub(crate) fn decode(datagram: &[u8]) -> Result<(Target, &[u8]), Dropped> {
    let (&[high, low, fragment], after) = datagram.split_first_chunk::<3>().ok_or(Dropped::Malformed)?;
    if (high, low) != (0, 0) {
        return Err(Dropped::Malformed);
    }
    if fragment != 0 {
        return Err(Dropped::Fragment);
    }
    let Ok(Some((raw, port, length))) = address::read(after) else { return Err(Dropped::Malformed) };
    if port == 0 {
        return Err(Dropped::Malformed);
    }
    let host = server::host(raw).map_err(Dropped::Target)?;
    Ok((Target { host, port }, &after[length..]))
}

/// Appends the header of a datagram to, or from, `target`; the payload follows it. `None` if its
/// name does not fit, and then nothing is appended.
pub(crate) fn encode_header(out: &mut Vec<u8>, target: &Target) -> Option<()> {
    let before = out.len();
    out.extend_from_slice(&[0, 0, 0]);
    let written = address::write(out, &target.host, target.port);
    if written.is_none() {
        out.truncate(before);
    }
    written
}
