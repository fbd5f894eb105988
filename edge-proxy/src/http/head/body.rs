//! How a head says its body ends.

use super::lines::Lines;
use crate::http::framing::Framing;

/// RFC 9112 section 6, refusing all that is ambiguous.
pub(super) fn framing(headers: &Lines, minor: u8) -> Result<Framing, String> {
    let mut lengths = headers.all("content-length");
    let mut codings = headers.all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding".to_owned()),
        (None, None) => Ok(Framing::None),
        (Some(length), None) => {
            if lengths.next().is_some() {
                return Err("Content-Length more than once".to_owned());
            }
            let digits = length.len() <= 19 && !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length).ok().filter(|_| digits).and_then(|t| t.parse().ok());
            number.map(Framing::Length).ok_or_else(|| "Content-Length is not a number".to_owned())
        }
        (None, Some(coding)) => {
            if codings.next().is_some() || minor == 0 || !coding.eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not exactly chunked".to_owned());
            }
            Ok(Framing::Chunked)
        }
    }
}
