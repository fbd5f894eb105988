//! What concerns one connection only, and what is passed on.

use super::lines::{Header, Lines, tokens};

/// Headers that concern one connection only (RFC 9110 section 7.6.1), and what we never pass on.
const HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "proxy-features",
];

/// Writes what may be passed on.
pub(super) fn pass_on(headers: &Lines, out: &mut Vec<u8>, upgrade: bool, drop: impl Fn(&Header<'_>) -> bool) {
    let nominations = headers.all("connection").next().is_some();
    for h in headers.iter() {
        let switch = upgrade && h.is("upgrade");
        let hop = HOP.iter().any(|n| h.is(n)) && !switch;
        // Framing is ours to keep whatever `Connection` says of it.
        let framing = h.is("content-length") || h.is("transfer-encoding");
        let nominated = nominations
            && !switch
            && !framing
            && headers.all("connection").flat_map(tokens).any(|n| n.eq_ignore_ascii_case(h.name));
        if hop || nominated || drop(&h) {
            continue;
        }
        for piece in [h.name, b": ", h.value, b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
}

pub(super) fn keep_alive(headers: &Lines, minor: u8) -> bool {
    let said = |word: &str| headers.says("connection", word) || headers.says("proxy-connection", word);
    if minor == 0 { said("keep-alive") && !said("close") } else { !said("close") }
}
