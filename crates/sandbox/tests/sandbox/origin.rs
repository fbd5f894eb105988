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
        ("GET /slow/300001", "", 404, b"paths: /ip /bytes/N /echo /sink /slow/MS\n"),
        ("GET /", "", 404, b"paths: /ip /bytes/N /echo /sink /slow/MS\n"),
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
