//! Heads and chunks.

use crate::http::framing::Chunked;
use crate::http::head::Forward;
use crate::http::{RequestHead, ResponseHead, head};

use super::{Verdict, ensure, fuzz};

/// How heads are passed on here.
const HOW: Forward<'_> =
    Forward { host: "host.test", authorization: Some("Basic b3Vycw=="), path: None, via: None, upgrade: false };
/// Sizes of the pieces that inputs arrive in, each input in one of them.
const STEPS: [usize; 4] = [1, 2, 3, 17];
/// Most header lines that are read back after we added ours.
const MOST_HEADERS: usize = 120;

const HEAD_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n ",
    b"\r\n\t",
    b" ",
    b"\t",
    b":",
    b": ",
    b" : ",
    b",",
    b", ",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding",
    b"chunked",
    b"identity",
    b"gzip, chunked",
    b"Connection: close\r\n",
    b"Connection: ",
    b"keep-alive",
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"Host: a.test\r\n",
    b"Proxy-Connection: ",
    b"Proxy-Authorization: Basic eDp5\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\n",
    b"GET ",
    b"CONNECT ",
    b"HEAD ",
    b"POST ",
    b"http://",
    b"a.test:443",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/2.0\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"\0",
    b"\x80",
    b"\xFF",
    b"\x7F",
];

#[test]
fn request_heads() {
    fuzz("http_head", HEAD_WORDS, |bytes| {
        let Some(n) = end_of_head(bytes)? else { return Ok(false) };
        let Ok(head) = RequestHead::parse(&bytes[..n]) else { return Ok(false) };
        request(&head, n)
    });
}

#[test]
fn response_heads() {
    fuzz("http_response", HEAD_WORDS, |bytes| {
        let Some(n) = end_of_head(bytes)? else { return Ok(false) };
        let Ok(head) = ResponseHead::parse(&bytes[..n]) else { return Ok(false) };
        response(&head, n)
    });
}

/// Where the head ends, however it arrives.
fn end_of_head(bytes: &[u8]) -> Result<Option<usize>, String> {
    let whole = head::complete(bytes, 0);
    let step = STEPS[bytes.len() % STEPS.len()];
    let (mut searched, mut found) = (0, Ok(None));
    while searched < bytes.len() && found == Ok(None) {
        let now = (searched + step).min(bytes.len());
        found = head::complete(&bytes[..now], searched);
        searched = now;
    }
    ensure(found == whole, || format!("{found:?} in pieces of {step}, {whole:?} at once"))?;
    let found = whole.ok().flatten();
    if let Some(n) = found {
        let shorter = RequestHead::parse(&bytes[..n - 1]).is_ok() || ResponseHead::parse(&bytes[..n - 1]).is_ok();
        ensure(!shorter, || "a head without its end is accepted".to_owned())?;
    }
    Ok(found)
}

/// What is passed on is one request, the same one, and framed the same.
fn request(head: &RequestHead, n: usize) -> Verdict {
    ensure(head.length == n, || format!("the head is {} bytes, its end was found after {n}", head.length))?;
    let Ok(body) = head.body() else { return Ok(false) };
    if head.headers.iter().count() > MOST_HEADERS {
        return Ok(false);
    }
    let sent = head.forward(&HOW);
    let end = head::complete(&sent, 0);
    ensure(end == Ok(Some(sent.len())), || format!("sent {} bytes, which end after {end:?}", sent.len()))?;
    let again = RequestHead::parse(&sent).map_err(|e| format!("what is passed on is refused: {e}"))?;
    ensure((again.method(), again.target(), again.minor) == (head.method(), head.target(), head.minor), || {
        format!("another request is passed on: {again:?}")
    })?;
    ensure(again.body() == Ok(body), || format!("framed as {:?}", again.body()))?;
    ensure(again.only("host") == Ok(Some("host.test")), || "another host".to_owned())?;
    ensure(again.only("proxy-authorization") == Ok(Some("Basic b3Vycw==")), || "other credentials".to_owned())?;
    ensure(again.only("connection") == Ok(Some("keep-alive")) && again.keep_alive(), || "it closes".to_owned())?;
    ensure(again.forward(&HOW) == sent, || "passed on twice it changes".to_owned())?;
    Ok(true)
}

fn response(head: &ResponseHead, n: usize) -> Verdict {
    ensure(head.length == n, || format!("the head is {} bytes, its end was found after {n}", head.length))?;
    if head.headers.iter().count() > MOST_HEADERS {
        return Ok(false);
    }
    for method in ["GET", "HEAD"] {
        let Ok(body) = head.body(method) else { return Ok(false) };
        for keep in [true, false] {
            let sent = head.forward(keep, None);
            let end = head::complete(&sent, 0);
            ensure(end == Ok(Some(sent.len())), || format!("sent {} bytes, which end after {end:?}", sent.len()))?;
            let again = ResponseHead::parse(&sent).map_err(|e| format!("what is passed on is refused: {e}"))?;
            ensure(again.status == head.status && again.reason() == head.reason(), || {
                format!("another answer: {again:?}")
            })?;
            ensure(again.body(method).as_ref() == Ok(&body), || format!("framed as {:?}", again.body(method)))?;
            ensure(again.forward(keep, None) == sent, || "passed on twice it changes".to_owned())?;
        }
    }
    Ok(true)
}

const CHUNK_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"0\r\n\r\n",
    b"0\r\n",
    b"5\r\nhello\r\n",
    b"a\r\n",
    b"A",
    b"f",
    b"ffffffffffffffff",
    b"00000",
    b";",
    b";x=\"y\"",
    b";x",
    b"\"",
    b" ",
    b"\t",
    b"0x",
    b"-1",
    b"+",
    b"Trailer: 1\r\n",
    b"\0",
    b"\x80",
];

#[test]
fn chunks() {
    fuzz("chunked", CHUNK_WORDS, |bytes| {
        let mut whole = Chunked::default();
        let taken = whole.advance(bytes);
        for step in STEPS {
            let (mut parts, mut sum) = (Chunked::default(), Ok(0));
            for piece in bytes.chunks(step) {
                let Ok(before) = sum else { break };
                sum = parts.advance(piece).map(|n| before + n);
            }
            let same = sum == taken && (taken.is_err() || parts == whole);
            ensure(same, || format!("{sum:?}, {parts:?} in pieces of {step}; {taken:?}, {whole:?} at once"))?;
        }
        let end = taken.ok().filter(|_| whole.done());
        ensure(end == reference(bytes), || format!("it ends after {end:?}, or after {:?}", reference(bytes)))?;
        Ok(end.is_some())
    });
}

/// Where a chunked body ends, line by line as RFC 9112 section 7.1 has it, and within our bounds.
fn reference(bytes: &[u8]) -> Option<usize> {
    /// A line and what follows its CRLF.
    fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let n = bytes.iter().position(|b| *b == b'\r')?;
        let rest = bytes[n..].strip_prefix(b"\r\n")?;
        let text = &bytes[..n];
        if text.contains(&b'\n') || text.contains(&0) { None } else { Some((text, rest)) }
    }
    let mut rest = bytes;
    loop {
        let (head, after) = line(rest)?;
        let digits = head.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = u64::from_str_radix(std::str::from_utf8(&head[..digits]).ok()?, 16).ok()?;
        let extension = &head[digits..];
        if digits > 15 || extension.len() > 1025 || !(extension.is_empty() || extension[0] == b';') {
            return None;
        }
        rest = after;
        if size == 0 {
            break;
        }
        let (_, after) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        rest = after.strip_prefix(b"\r\n")?;
    }
    loop {
        let (trailer, after) = line(rest)?;
        rest = after;
        match trailer.first() {
            None => return Some(bytes.len() - rest.len()),
            Some(b' ' | b'\t') => return None,
            Some(_) => {}
        }
    }
}
