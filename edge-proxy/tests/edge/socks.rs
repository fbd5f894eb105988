//! SOCKS5 (RFC 1928, RFC 1929) through the same door, under the same rules.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::socks::{BIND, CONNECT, GREETING, SUCCEEDED, ask, credentials, enter, refused, request};
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, connect, connect_from, read_all, read_n, status};

const DEMO: (&str, &str) = ("demo", PASSWORD);

/// Authenticates, asks, and expects to be refused with `code` and closed.
async fn is_refused(edge: SocketAddr, asked: &[u8], code: u8) {
    let mut c = TcpStream::connect(edge).await.unwrap();
    enter(&mut c, DEMO.0, DEMO.1).await;
    c.write_all(asked).await.unwrap();
    assert_eq!(read_all(&mut c).await, refused(code), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_address_is_carried_and_every_byte_is_counted() {
    let w = World::new(1 << 24, limits()).await;
    let edge = w.start().await;
    let sent = vec![b's'; 700_001];
    for (host, target) in
        [("198.41.0.4", "198.41.0.4:443"), ("2606:4700::1", "[2606:4700::1]:443"), ("Echo.Test", "echo.test:443")]
    {
        let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
        assert_eq!(ask(&mut c, DEMO, &request(CONNECT, host, 443)).await, SUCCEEDED);
        let (mut r, mut s) = c.split();
        let mut back = vec![0; sent.len()];
        let (a, b) = tokio::join!(s.write_all(&sent), r.read_exact(&mut back));
        a.unwrap();
        b.unwrap();
        assert!(back == sent, "{host}");
        c.shutdown().await.unwrap();
        assert!(read_all(&mut c).await.is_empty());
        let head = w.upstream.heads().pop().unwrap();
        assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
        assert!(!head.contains(PASSWORD), "{head}");
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (2_100_003, 2_100_003, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_may_come_byte_by_byte() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    c.set_nodelay(true).unwrap();
    let frames = [
        (GREETING.to_vec(), vec![5, 2]),
        (credentials(DEMO.0, DEMO.1), vec![1, 0]),
        (request(CONNECT, "echo.test", 443), SUCCEEDED.to_vec()),
        (b"ping".to_vec(), b"ping".to_vec()),
    ];
    for (frame, answer) in frames {
        for byte in frame {
            c.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(read_n(&mut c, answer.len()).await, answer);
    }
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_and_payload_may_come_in_one_segment() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let all = [&GREETING[..], &credentials(DEMO.0, DEMO.1), &request(CONNECT, "echo.test", 443), b"early"].concat();
    c.write_all(&all).await.unwrap();
    let expected = [&[5, 2, 1, 0][..], &SUCCEEDED, b"early"].concat();
    assert_eq!(read_n(&mut c, expected.len()).await, expected);
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_name_has_the_grammar_it_has_overhttp() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let user = "demo-line-chip1-country-be";
    let mut socks = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    assert_eq!(ask(&mut socks, (user, PASSWORD), &request(CONNECT, "echo.test", 443)).await, SUCCEEDED);
    // Over HTTP it is the same line: nobody is asked again.
    let (http, head) = connect(edge.gateway_addr(), "echo.test:443", user, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let asked = w.assigner.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].line.label.as_str(), asked[0].country.map(|c| c.as_str())), ("chip1", Some("be")));
    // And another request for it is another line's.
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let other = ("demo-line-chip1-country-de", PASSWORD);
    assert_eq!(ask(&mut c, other, &request(CONNECT, "echo.test", 443)).await, refused(2));
    drop((socks, http, c));
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_are_refused_where_passwords_are_and_block_their_source() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let failed = async |source, password: &str| {
        let mut c = connect_from(source, at).await;
        c.write_all(&[&GREETING[..], &credentials("demo", password)].concat()).await.unwrap();
        assert_eq!(read_all(&mut c).await, [5, 2, 1, 1]);
    };
    for _ in 0..10 {
        failed([127, 0, 0, 1], "wrong").await;
    }
    // The right one is not looked at any more, over no protocol.
    failed([127, 0, 0, 1], PASSWORD).await;
    let (_c, head) = connect(at, "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 407, "{head}");
    assert!(head.contains("Retry-After: "), "{head}");
    // Others are not concerned.
    let mut c = connect_from([127, 0, 0, 2], at).await;
    assert_eq!(ask(&mut c, DEMO, &request(CONNECT, "echo.test", 443)).await, SUCCEEDED);
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_without_a_method_that_will_do_is_refused() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    // GSSAPI; nothing that exists; no credentials from a source that nobody lists; no methods at all.
    for greeting in [&[5, 1, 1][..], &[5, 2, 0x80, 0xfe], &[5, 1, 0], &[5, 0]] {
        let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
        c.write_all(greeting).await.unwrap();
        assert_eq!(read_all(&mut c).await, [5, 0xff], "{greeting:?}");
    }
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_is_refused_in_the_words_of_the_protocol() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    is_refused(at, &request(BIND, "echo.test", 443), 7).await;
    is_refused(at, &request(9, "echo.test", 443), 7).await;
    is_refused(at, &[5, CONNECT, 0, 2, 1, 2, 3, 4, 0, 80], 8).await;
    is_refused(at, &request(CONNECT, "echo.test", 0), 1).await;
    is_refused(at, &request(CONNECT, "10.0.0.1", 443), 2).await;
    is_refused(at, &request(CONNECT, "::ffff:169.254.169.254", 80), 2).await;
    is_refused(at, &request(CONNECT, "localhost", 443), 2).await;
    is_refused(at, &request(CONNECT, "mail.test", 25), 2).await;
    assert!(w.upstream.heads().is_empty());
    assert!(w.assigner.asked.lock().unwrap().is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!((w.rows().await.bytes(), w.rows().await.connections), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn socks4_is_told_that_it_is_rejected() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    c.write_all(&[4, 1, 0, 80, 198, 41, 0, 4, b'd', 0]).await.unwrap();
    assert_eq!(read_all(&mut c).await, [0, 0x5b, 0, 0, 0, 0, 0, 0]);
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_bytes_left_the_rules_say_no() {
    let w = World::new(0, limits()).await;
    let edge = w.start().await;
    is_refused(edge.gateway_addr(), &request(CONNECT, "echo.test", 443), 2).await;
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_ends_a_tunnel_at_the_exact_byte() {
    let w = World::new(300_007, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    assert_eq!(ask(&mut c, DEMO, &request(CONNECT, "flood.test", 443)).await, SUCCEEDED);
    assert_eq!(read_all(&mut c).await.len(), 300_007);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.bytes(), 300_007);
}
