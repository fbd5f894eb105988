//! What the edge answers itself on its gateway: `GET /ip`, for health checks and "test now", and
//! an OPTIONS that may go no further.

use std::net::IpAddr;

use tollgate_domain::refusal::{Code, Refusal};

use crate::http::RequestHead;
use crate::http::refusal::Answering;

const ALLOW: &str = "CONNECT, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Whether a request is for the edge itself: in origin-form, or at the end of its hops
/// (RFC 9110 section 7.6.2).
pub(super) fn is_ours(head: &RequestHead) -> bool {
    head.target().starts_with('/') || head.target() == "*" || head.max_forwards() == Some(0)
}

/// The answer to a request that [`is_ours`].
///
/// # Errors
/// `REQUEST_INVALID` for paths that are none of ours, `METHOD_NOT_ALLOWED`.
pub(super) fn answer(head: &RequestHead, peer: IpAddr, to: &Answering) -> Result<Vec<u8>, Refusal> {
    let path = head.target().split('?').next().unwrap_or_default();
    match (head.method(), path) {
        ("GET" | "HEAD", "/ip") => Ok(plain(&format!("{}\n", peer.to_canonical()), "", to)),
        ("OPTIONS", _) => Ok(plain("", &format!("Allow: {ALLOW}\r\n"), to)),
        ("TRACE", _) => Err(Refusal::new(Code::MethodNotAllowed, "TRACE is not passed on")),
        _ => {
            let detail = "this is a proxy: send the whole URL of the target, or CONNECT (it answers GET /ip itself)";
            Err(Refusal::new(Code::RequestInvalid, detail))
        }
    }
}

fn plain(body: &str, more: &str, to: &Answering) -> Vec<u8> {
    let connection = if to.keep_alive { "keep-alive" } else { "close" };
    let length = body.len();
    let body = if to.head_only { "" } else { body };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nCache-Control: no-store\r\n{more}\
         Connection: {connection}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Refuses a request that has been here before (RFC 9110 section 7.6.3), if the edge has a name.
///
/// # Errors
/// `LOOP`.
pub(super) fn check_loop(head: &RequestHead, name: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = name else { return Ok(()) };
    // "1.1 name (comment)", in a list.
    let ours = |hop: &[u8]| {
        let by = hop.trim_ascii().split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).nth(1);
        by.is_some_and(|by| by.eq_ignore_ascii_case(name.as_bytes()))
    };
    if head.headers.all("via").flat_map(|v| v.split(|b| *b == b',')).any(ours) {
        return Err(Refusal::new(Code::Loop, "the request has passed this proxy before"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> RequestHead {
        RequestHead::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_loop_is_known_by_our_name_in_via() {
        let via = |v: &str| head(&format!("GET http://a.test/ HTTP/1.1\r\nVia: {v}\r\n\r\n"));
        assert_eq!(check_loop(&via("1.1 other, 1.1 Edge1 (x)"), Some("edge1")).unwrap_err().code, Code::Loop);
        assert!(check_loop(&via("1.1 edge10, 1.1 other (edge1)"), Some("edge1")).is_ok());
        assert!(check_loop(&via("1.1 edge1"), None).is_ok());
    }

    #[test]
    fn only_origin_form_and_spent_hops_are_ours() {
        assert!(is_ours(&head("GET /ip HTTP/1.1\r\n\r\n")));
        assert!(is_ours(&head("OPTIONS * HTTP/1.1\r\n\r\n")));
        assert!(is_ours(&head("OPTIONS http://a.test/ HTTP/1.1\r\nMax-Forwards: 0\r\n\r\n")));
        assert!(!is_ours(&head("OPTIONS http://a.test/ HTTP/1.1\r\nMax-Forwards: 1\r\n\r\n")));
        assert!(!is_ours(&head("GET http://a.test/ HTTP/1.1\r\nMax-Forwards: 0\r\n\r\n")));
    }
}
