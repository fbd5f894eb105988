use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Answer, exchange, world};

#[tokio::test]
async fn https_works_through_a_tunnel_and_direct_with_the_given_authority() {
    let w = world().await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(w.sandbox.origin_ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("origin.test").unwrap();

    let ip = w.bought("nl").await;
    let (tunnel, _) = w.tunnel("origin.test:443", &format!("-ip-{ip}")).await;
    let tls = connector.connect(name.clone(), tunnel).await.unwrap();
    assert_eq!(ask(tls).await.json(), json!({"ip": ip, "country": "nl"}));

    let direct = TcpStream::connect(w.sandbox.origin_https_addr()).await.unwrap();
    let tls = connector.connect(name, direct).await.unwrap();
    assert_eq!(ask(tls).await.json(), json!({"ip": "127.0.0.1", "country": null}));

    // Whoever speaks no TLS there is not served.
    assert!(!exchange(w.sandbox.origin_https_addr(), b"GET / HTTP/1.1\r\n\r\n").await.starts_with(b"HTTP"));
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Answer {
    stream.write_all(b"GET /ip HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    Answer::parse(&raw)
}

#[tokio::test]
async fn every_path_answers_exactly() {
    let w = world().await;
    for (line, body, status, answer) in [
        ("GET /bytes/5", "", 200, &b"\0\x01\x02\x03\x04"[..]),
        ("GET /bytes/0", "", 200, b""),
        ("GET /bytes/10737418241", "", 400, b"/bytes/N: N is at most 10737418240\n"),
        ("GET /bytes/x", "", 400, b"/bytes/N: N is at most 10737418240\n"),
        ("POST /echo", "back", 200, b"back"),
        ("POST /sink", "12345", 200, b"5\n"),
        ("GET /slow/20", "", 200, b"slow\n"),
        ("GET /ws", "", 400, b"/ws is a WebSocket (version 13)\n"),
        ("GET /files/a.git/HEAD", "", 404, b"no such file: PUT it first\n"),
        ("PUT /files/a.git/HEAD", "ref: x", 201, b"stored\n"),
        ("GET /files/a.git/HEAD?service=y", "", 200, b"ref: x"),
        ("POST /files/a.git/HEAD", "", 405, b"/files/NAME: GET, HEAD, PUT\n"),
        ("GET /slow/300001", "", 404, b"paths: /ip /bytes/N /echo /sink /slow/MS /files/NAME /ws\n"),
        ("GET /", "", 404, b"paths: /ip /bytes/N /echo /sink /slow/MS /files/NAME /ws\n"),
    ] {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: o\r\nContent-Type: text/x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let got = Answer::parse(&exchange(w.sandbox.origin_http_addr(), request.as_bytes()).await);
        assert_eq!((got.status, got.body.as_slice()), (status, answer), "{line}");
        assert_eq!(got.headers["content-length"], answer.len().to_string(), "{line}");
    }
}

#[tokio::test]
async fn a_body_cut_short_is_no_count() {
    let w = world().await;
    let mut stream = TcpStream::connect(w.sandbox.origin_http_addr()).await.unwrap();
    stream.write_all(b"POST /sink HTTP/1.1\r\nHost: o\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    assert!(!String::from_utf8_lossy(&raw).contains("200 OK"), "{raw:?}");
}

/// A client's frame, masked with zeros and ones.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0, 255, 0, 255];
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[tokio::test]
async fn a_web_socket_echoes_until_it_is_closed() {
    let w = world().await;
    let mut stream = TcpStream::connect(w.sandbox.origin_http_addr()).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: o\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = String::from_utf8(crate::support::head(&mut stream).await).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");

    for frame in [masked(0x81, b"hello"), masked(0x89, b"ping"), masked(0x88, &[3, 232])] {
        stream.write_all(&frame).await.unwrap();
    }
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    assert_eq!(raw, b"\x81\x05hello\x8a\x04ping\x88\x02\x03\xe8", "the message, a pong, the close");

    let mut stream = TcpStream::connect(w.sandbox.origin_http_addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    crate::support::head(&mut stream).await;
    stream.write_all(b"\x81\x00").await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    assert_eq!(raw, b"\x88\x02\x03\xea", "a frame without a mask is an error of the protocol");
}
