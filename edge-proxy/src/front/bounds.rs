//! What a client that has not authenticated can make the edge hold, buffer by buffer.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tollgate_domain::refusal::Code;

use super::{MAX_TLS_HANDSHAKE, balancer};
use crate::http::head::{self, MAX_REQUEST_HEAD};
use crate::ingress::proxy_protocol::MAX_LENGTH;
use crate::leg::{Leg, Rewind};
use crate::socks::{MAX_FRAME, server};

/// A connection that `bytes` come over.
async fn sending(bytes: Vec<u8>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    tokio::spawn(async move {
        // Who has read enough hangs up.
        let _ = client.write_all(&bytes).await;
    });
    server
}

#[tokio::test]
async fn a_head_is_refused_at_its_bound_and_not_read_beyond_it() {
    let leg = Leg::from(sending(vec![b'x'; 4 * MAX_REQUEST_HEAD]).await);
    let mut buf = Vec::new();
    let refusal = loop {
        match head::complete_request(&buf, 0) {
            Ok(found) => assert_eq!(found, None),
            Err(refusal) => break refusal,
        }
        assert!(buf.len() < MAX_REQUEST_HEAD);
        assert!(matches!(leg.read_within(&mut buf, MAX_REQUEST_HEAD).await, Ok(1..)));
    };
    assert_eq!((refusal.code, buf.len()), (Code::HeaderTooLarge, MAX_REQUEST_HEAD));
}

#[test]
fn a_head_may_be_as_long_as_its_bound() {
    let mut longest = vec![b'x'; MAX_REQUEST_HEAD];
    longest[MAX_REQUEST_HEAD - 4..].copy_from_slice(b"\r\n\r\n");
    assert_eq!(head::complete_request(&longest, 0), Ok(Some(MAX_REQUEST_HEAD)));
    longest.insert(0, b'x');
    assert_eq!(head::complete_request(&longest, 0).unwrap_err().code, Code::HeaderTooLarge);
}

#[test]
fn no_frame_of_a_handshake_waits_for_more_than_its_bound() {
    for first in 0..=u8::MAX {
        for fill in [0x00, 0x01, 0x03, 0x04, 0x7F, 0xFF] {
            let mut bytes = vec![fill; MAX_FRAME];
            bytes[0] = first;
            let greeting = server::greeting(&bytes).map(|found| found.is_some());
            let credentials = server::credentials(&bytes).map(|found| found.is_some());
            let request = server::request(&bytes).map(|found| found.is_some()).map_err(|refused| refused.refusal);
            for read in [greeting, credentials, request] {
                let known = [Code::RequestInvalid, Code::AuthFailed, Code::MethodNotAllowed, Code::DestBlocked];
                match read {
                    Ok(whole) => assert!(whole, "{first:#04x}, then {fill:#04x}: more is waited for"),
                    Err(refusal) => assert!(known.contains(&refusal.code), "{refusal:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_balancers_header_is_given_up_at_its_bound() {
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 1 << 16]].concat();
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF"[..], &[0; 1 << 16]].concat();
    for bytes in [endless, long] {
        let stream = sending(bytes).await;
        let mut buf = Vec::new();
        assert!(balancer(&stream, &mut buf).await.is_none());
        assert!(buf.len() <= MAX_LENGTH + 512, "{} bytes", buf.len());
    }
}

#[tokio::test]
async fn a_tls_handshake_is_given_up_at_its_bound_and_what_follows_it_has_none() {
    let stream = sending(vec![0; 8 * MAX_TLS_HANDSHAKE]).await;
    let mut hello = Rewind::new(vec![0; 1000], stream).bounded(MAX_TLS_HANDSHAKE);
    let (mut buf, mut read) = ([0; 4096], 0);
    let failed = loop {
        match hello.read(&mut buf).await {
            Ok(n) => {
                assert_ne!(n, 0);
                read += n;
            }
            Err(e) => break e,
        }
    };
    assert_eq!(failed.kind(), ErrorKind::InvalidData);
    assert!((MAX_TLS_HANDSHAKE..MAX_TLS_HANDSHAKE + 4096).contains(&read), "{read} bytes");
    hello.unbounded();
    assert!(matches!(hello.read(&mut buf).await, Ok(1..)));
}
