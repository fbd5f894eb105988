use proptest::prelude::*;
use tollgate_domain::refusal::{Code, Lang, Refusal};

use super::framing::Chunked;
use super::head::Forward;
use super::refusal::{Answering, render};
use super::*;

fn parse(text: &str) -> Result<RequestHead, Code> {
    RequestHead::parse(text.as_bytes()).map_err(|r| r.code)
}

fn with(headers: &str) -> Result<Body, Code> {
    parse(&format!("POST http://a.test/ HTTP/1.1\r\n{headers}\r\n"))?.body().map_err(|r| r.code)
}

#[test]
fn a_plain_head_is_read() {
    let text = "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\nX: 1\r\n\r\n";
    let head = parse(text).unwrap();
    assert_eq!((head.method(), head.target(), head.minor), ("GET", "http://a.test/x", 1));
    assert_eq!((head.only("x").unwrap(), head.length), (Some("1"), text.len()));
    assert!(head.keep_alive());
    assert_eq!(head::complete(text.as_bytes(), 0).unwrap(), Some(text.len()));
    assert_eq!(head::complete(b"\r\n\r\nGET / HTTP/1.1\r\n", 0).unwrap(), None, "empty lines before it end nothing");
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    for bad in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nX : a\r\n\r\n",
        "GET / HTTP/1.1\r\n: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\r\n\r\n",
    ] {
        assert_eq!(parse(bad), Err(Code::RequestInvalid), "{bad:?}");
    }
    for bad in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1, 1\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 0x1\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(with(bad), Err(Code::RequestInvalid), "{bad:?}");
    }
    assert_eq!(with("Content-Length: 12\r\n"), Ok(Body::length(12)));
    assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(Body::chunked()));
    let twice = parse("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").unwrap();
    assert_eq!(twice.only("host").unwrap_err().code, Code::RequestInvalid);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(200));
    assert_eq!(parse(&many), Err(Code::HeaderTooLarge));
    let old = parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert_eq!(old.body().unwrap_err().code, Code::RequestInvalid);
    assert!(!old.keep_alive());
}

#[test]
fn an_end_is_found_however_the_head_arrives() {
    let text = b"GET / HTTP/1.1\r\nX: 1\r\n\r\nbody";
    for step in 1..text.len() {
        let (mut searched, mut found) = (0, None);
        while found.is_none() {
            let now = (searched + step).min(text.len());
            found = head::complete(&text[..now], searched).unwrap();
            searched = now;
        }
        assert_eq!(found, Some(text.len() - 4), "step {step}");
    }
    assert_eq!(head::complete(&[b'x'; head::MAX_HEAD], 0).unwrap_err().code, Code::HeaderTooLarge);
}

#[test]
fn answers_end_as_their_method_and_status_say() {
    let body = |method, text: &str| ResponseHead::parse(text.as_bytes()).unwrap().body(method);
    assert_eq!(body("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Ok(Body::length(0)));
    assert_eq!(body("GET", "HTTP/1.1 204 No Content\r\n\r\n"), Ok(Body::length(0)));
    assert_eq!(body("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), Ok(Body::length(0)));
    assert_eq!(body("GET", "HTTP/1.1 200 OK\r\n\r\n"), Ok(Body::until_close()));
    assert_eq!(body("GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Ok(Body::length(9)));
    assert!(body("GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 9\r\n\r\n").is_err());
    assert!(ResponseHead::parse(b"garbage\r\n\r\n").is_err());
    for (status, ok) in [("000", false), ("099", false), ("100", true), ("999", true), ("1000", false), ("20", false)] {
        assert_eq!(ResponseHead::parse(format!("HTTP/1.1 {status} X\r\n\r\n").as_bytes()).is_ok(), ok, "{status}");
    }
}

#[test]
fn what_is_passed_on_keeps_framing_and_drops_what_concerns_the_connection() {
    let head = parse(
        "POST http://a.test/ HTTP/1.1\r\nHost: evil\r\nConnection: content-length, x-drop\r\nContent-Length: 3\r\n\
         X-Drop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic secret\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Keep: 2\r\n\r\n",
    )
    .unwrap();
    let out = {
        let how = Forward { host: "a.test", authorization: Some("Basic ours"), ..Forward::default() };
        String::from_utf8(head.forward(&how)).unwrap()
    };
    assert_eq!(
        out,
        "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nX-Keep: 2\r\n\
         Proxy-Authorization: Basic ours\r\nConnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn a_refusal_is_well_formed_whatever_its_detail() {
    let to = Answering { lang: Lang::En, correlation_id: "c1".into(), head_only: false, keep_alive: true };
    let refusal = Refusal::new(Code::ThreadsExceeded, "a \"quoted\" \\ line\r\nX-Evil: ü").retry_after(3);
    let text = String::from_utf8(render(&refusal, &to)).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("details=\"THREADS_EXCEEDED: a \\\"quoted\\\" \\\\ line??X-Evil: ?\""), "{head}");
    assert!(head.contains("\r\nRetry-After: 3\r\n") && head.ends_with("Connection: keep-alive"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    let head_only = Answering { head_only: true, ..to };
    assert!(render(&refusal, &head_only).ends_with(b"\r\n\r\n"));
}

#[test]
fn chunks_are_followed_strictly() {
    let end = |text: &str| {
        let mut c = Chunked::default();
        c.advance(text.as_bytes()).map(|n| (n, c.done()))
    };
    assert_eq!(end("0\r\n\r\nnext"), Ok((5, true)));
    assert_eq!(end("a;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"), Ok((32, true)));
    assert_eq!(end("5\r\nhel"), Ok((6, false)));
    for bad in [
        "\r\n",
        "g\r\n",
        "5\nhello",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5 \r\nhello\r\n",
        "0\r\n folded\r\n\r\n",
        "1234567890abcdef0\r\n",
        "0\r\nT: 1\n\r\n",
        "-1\r\n",
        "0x5\r\n",
    ] {
        assert!(end(bad).is_err(), "{bad:?}");
    }
    assert!(end(&format!("5;{}\r\nhello\r\n", "x".repeat(5000))).is_err());
    assert!(end(&format!("0\r\nT: {}\r\n\r\n", "x".repeat(10_000))).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = head::complete(&bytes, bytes.len() / 2);
        if let Ok(head) = RequestHead::parse(&bytes) {
            let _ = (head.body(), head.keep_alive(), head.forward(&Forward { host: "h", authorization: Some("a"), ..Forward::default() }));
        }
        if let Ok(head) = ResponseHead::parse(&bytes) {
            let _ = (head.body("GET"), head.forward(true, None));
        }
        let _ = Chunked::default().advance(&bytes);
    }

    #[test]
    fn length_and_coding_never_pass_together(
        lengths in 0usize..3, codings in 0usize..3, upper in any::<bool>(), first in any::<bool>(), pad in "[ \t]{0,3}",
    ) {
        prop_assume!(lengths + codings >= 2);
        let name = |n: &str| if upper { n.to_uppercase() } else { n.to_owned() };
        let l = format!("{}:{pad}5{pad}\r\n", name("content-length")).repeat(lengths);
        let c = format!("{}:{pad}chunked{pad}\r\n", name("transfer-encoding")).repeat(codings);
        let headers = if first { l + &c } else { c + &l };
        prop_assert_eq!(with(&headers), Err(Code::RequestInvalid));
    }

    #[test]
    fn chunks_end_at_the_same_byte_however_they_arrive(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..6), step in 1usize..20,
    ) {
        let mut wire = Vec::new();
        for c in &chunks {
            wire.extend(format!("{:x}\r\n", c.len()).bytes());
            wire.extend(c);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        let whole = wire.len();
        wire.extend(b"GET / HTTP/1.1\r\n");
        let (mut body, mut at) = (Chunked::default(), 0);
        while !body.done() {
            let end = (at + step).min(wire.len());
            at += body.advance(&wire[at..end]).unwrap();
        }
        prop_assert_eq!(at, whole);
    }
}
