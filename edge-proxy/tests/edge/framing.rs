//! Framing that two parsers could read in two ways, against a gateway that keeps every byte: a
//! request goes on as it is, or not at all.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::client::{request, said};
use crate::support::recorder::{ANSWER, Recorder, whole};
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, read_all};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It arrives once, its body byte by byte.
    Passes,
    /// It is refused with a 4xx, and nobody else hears of it.
    Refused,
    /// Its body breaks off where it stops making sense: nobody sees a whole request, and nobody answers.
    Breaks,
}
use Fate::{Breaks, Passes, Refused};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

/// Header lines, body, fate.
const FORMS: &[(&str, &str, Fate)] = &[
    // A length.
    ("Content-Length: 5\r\n", "hello", Passes),
    ("content-length:5\r\n", "hello", Passes),
    ("Content-Length:\t 5 \t\r\n", "hello", Passes),
    ("Content-Length: 005\r\n", "hello", Passes),
    ("Content-Length: 0\r\n", "", Passes),
    ("", "", Passes),
    ("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello", Passes),
    ("Content_Length: 9\r\nContent-Length: 5\r\n", "hello", Passes),
    ("Content-Length: +5\r\n", "hello", Refused),
    ("Content-Length: -5\r\n", "hello", Refused),
    ("Content-Length: 0x5\r\n", "hello", Refused),
    ("Content-Length: 5, 5\r\n", "hello", Refused),
    ("Content-Length: 5;\r\n", "hello", Refused),
    ("Content-Length: 5 5\r\n", "hello", Refused),
    ("Content-Length: 5.0\r\n", "hello", Refused),
    ("Content-Length: five\r\n", "hello", Refused),
    ("Content-Length:\r\n", "hello", Refused),
    ("Content-Length: 99999999999999999999\r\n", "hello", Refused),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", Refused),
    ("Content-Length: 5\r\ncontent-length: 6\r\n", "hello", Refused),
    ("Content-Length : 5\r\n", "hello", Refused),
    (" Content-Length: 5\r\n", "hello", Refused),
    ("X: a\r\n Content-Length: 5\r\n", "hello", Refused),
    ("Content-Length\r\n", "hello", Refused),
    ("Content-Length: 5\nX: y\r\n", "hello", Refused),
    ("X: a\rContent-Length: 5\r\n", "hello", Refused),
    ("X: a\0Content-Length: 5\r\n", "hello", Refused),
    // Chunks.
    (CHUNKED, "5\r\nhello\r\n0\r\n\r\n", Passes),
    (CHUNKED, "0\r\n\r\n", Passes),
    (CHUNKED, "000\r\n\r\n", Passes),
    (CHUNKED, "05\r\nhello\r\n0\r\n\r\n", Passes),
    (CHUNKED, "A\r\nhello worl\r\n1\r\nd\r\n0\r\n\r\n", Passes),
    (CHUNKED, "5;a=b\r\nhello\r\n0;last\r\n\r\n", Passes),
    (CHUNKED, "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", Passes),
    ("transfer-encoding:Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", Passes),
    ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", Passes),
    (CHUNKED, "0x5\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "+5\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "-5\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, " 5\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "5 \r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "5\nhello\n0\n\n", Breaks),
    (CHUNKED, "5\rhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "5\r\nhelloX\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "5\r\nhello0\r\n\r\n", Breaks),
    (CHUNKED, "5\r\nhello\n0\r\n\r\n", Breaks),
    (CHUNKED, "\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, ";x\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "g\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "10000000000000005\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "5;\nx\r\nhello\r\n0\r\n\r\n", Breaks),
    (CHUNKED, "5\r\nhello\r\n0\r\n X: folded\r\n\r\n", Breaks),
    (CHUNKED, "5\r\nhello\r\n0\r\nX: 1\n\r\n", Breaks),
    (CHUNKED, "5\r\nhello\r\n", Breaks),
    (CHUNKED, "5\r\nhel", Breaks),
    ("Content-Length: 9\r\n", "hello", Breaks),
    // Both, or another coding.
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: identity\r\n", "hello", Refused),
    ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: chunked\x0b\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding\r\n", "0\r\n\r\n", Refused),
    ("Transfer-Encoding: \r\n", "0\r\n\r\n", Refused),
];

async fn world() -> (World, Recorder) {
    let gateway = Recorder::start().await;
    let at = gateway.addr;
    let w = World::with_provider(1 << 24, limits(), |p| p.gateway_port = at.port()).await;
    (w, gateway)
}

/// The body of a recorded request, as sent.
fn body(seen: &[u8]) -> &[u8] {
    let head = seen.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    &seen[head..]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_arrives_as_one_request_or_not_at_all() {
    let (w, gateway) = world().await;
    let edge = w.start().await;
    for (lines, sent, fate) in FORMS {
        let form = format!("{lines:?} {sent:?}");
        let text = said(&edge, &(request("POST", "http://origin.test/x", lines) + sent)).await;
        let seen = gateway.take().await;
        match fate {
            Passes => {
                assert_eq!(text, ANSWER, "{form}");
                assert_eq!(seen.len(), 1, "{form}");
                assert_eq!(whole(&seen[0]), Some(seen[0].len()), "{form}");
                assert_eq!(body(&seen[0]), sent.as_bytes(), "{form}");
            }
            Refused => {
                assert!(text.starts_with("HTTP/1.1 4"), "{form}: {text}");
                assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{form}: {text}");
                assert!(seen.is_empty(), "{form}: {seen:?}");
            }
            Breaks => {
                assert_eq!(text, "", "{form}");
                assert!(seen.iter().all(|s| whole(s).is_none()), "{form}: {seen:?}");
            }
        }
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_read_the_same_in_single_bytes() {
    let (w, gateway) = world().await;
    let edge = w.start().await;
    for (lines, sent, fate) in FORMS.iter().filter(|f| f.2 == Passes) {
        let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
        c.set_nodelay(true).unwrap();
        c.write_all(request("POST", "http://origin.test/x", lines).as_bytes()).await.unwrap();
        for byte in sent.as_bytes() {
            c.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _ = c.shutdown().await;
        let text = String::from_utf8(read_all(&mut c).await).unwrap();
        assert_eq!(text, ANSWER, "{lines:?} {sent:?} {fate:?}");
        let seen = gateway.take().await;
        assert_eq!(seen.len(), 1);
        assert_eq!(body(&seen[0]), sent.as_bytes(), "{lines:?} {sent:?}");
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_body_is_a_request_of_its_own() {
    let (w, gateway) = world().await;
    let edge = w.start().await;
    for (lines, sent) in [("Content-Length: 5\r\n", "hello"), (CHUNKED, "5\r\nhello\r\n0\r\n\r\n"), ("", "")] {
        // Its own credentials are missing: it is refused, and goes nowhere.
        let next = "GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n";
        let first = request("POST", "http://origin.test/x", lines) + sent;
        let text = said(&edge, &format!("{first}{next}")).await;
        assert!(text.starts_with(&format!("{ANSWER}HTTP/1.1 407 ")), "{text}");
        let seen = gateway.take().await;
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(body(&seen[0]), sent.as_bytes());
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_may_not_send_chunks() {
    let (w, gateway) = world().await;
    let edge = w.start().await;
    let auth = basic("demo", PASSWORD);
    let ask = format!("POST http://origin.test/x HTTP/1.0\r\nProxy-Authorization: {auth}\r\n{CHUNKED}\r\n0\r\n\r\n");
    let text = said(&edge, &ask).await;
    assert!(text.starts_with("HTTP/1.1 400 "), "{text}");
    assert!(gateway.take().await.is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
}
