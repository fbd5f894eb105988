//! Request and response heads.

mod body;
mod hop;
mod lines;
mod request;
mod response;

use tollgate_domain::refusal::{Code, Refusal};

pub(crate) use request::{Forward, RequestHead};
pub(crate) use response::ResponseHead;

/// Largest head of an answer, in bytes.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Largest head of a request: who sends it has not said yet who it is, and may not cost more than
/// 64 KiB in all.
pub(crate) const MAX_REQUEST_HEAD: usize = 32 << 10;
/// Most header lines.
const MAX_HEADERS: usize = 128;

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::RequestInvalid, detail)
}

/// Length of the head at the start of `bytes`, if it is complete: up to and with the empty line.
/// The first `searched` bytes are known to hold no end.
///
/// # Errors
/// `HEADER_TOO_LARGE` once it cannot end within [`MAX_HEAD`].
pub(crate) fn complete(bytes: &[u8], searched: usize) -> Result<Option<usize>, Refusal> {
    end_within(bytes, searched, MAX_HEAD)
}

/// The same of a request.
///
/// # Errors
/// `HEADER_TOO_LARGE` once it cannot end within [`MAX_REQUEST_HEAD`].
pub(crate) fn complete_request(bytes: &[u8], searched: usize) -> Result<Option<usize>, Refusal> {
    end_within(bytes, searched, MAX_REQUEST_HEAD)
}

fn end_within(bytes: &[u8], searched: usize, most: usize) -> Result<Option<usize>, Refusal> {
    let skip = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let within = &bytes[..bytes.len().min(most)];
    // An end may straddle what is known.
    let from = skip.max(searched.saturating_sub(3)).min(within.len());
    // A line feed pair ends a head for lenient parsers: let it be read and refused.
    let ends = |n: usize| within[n..].starts_with(b"\r\n\r\n") || within[n..].starts_with(b"\n\n");
    if let Some(n) = (from..within.len()).find(|n| ends(*n)) {
        return Ok(Some(n + if within[n] == b'\r' { 4 } else { 2 }));
    }
    if bytes.len() >= most {
        let detail = format!("the head is larger than {most} bytes");
        return Err(Refusal::new(Code::HeaderTooLarge, detail));
    }
    Ok(None)
}

/// Every line must end in CRLF and nothing else.
fn strict_lines(bytes: &[u8]) -> Result<(), Refusal> {
    for (n, b) in bytes.iter().enumerate() {
        let before = n.checked_sub(1).map(|i| bytes[i]);
        let after = bytes.get(n + 1).copied();
        if (*b == b'\r' && after != Some(b'\n')) || (*b == b'\n' && before != Some(b'\r')) || *b == 0 {
            return Err(invalid("a line of the head does not end in CRLF"));
        }
    }
    Ok(())
}
