//! Every refusal says what happened and how to fix it, and leaves no trace in usage.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tollgate_domain::plan::Limits;
use tollgate_domain::refusal::{Code, Refusal};

use crate::support::upstream::Mood;
use crate::support::world::{PASSWORD, limits, plan_bucket};
use crate::support::{World, basic, body_of, connect, read_all, read_head, status};

/// Sends `request`; the answer, checked for its form. Panics if it is not `code`.
async fn refused(edge: SocketAddr, request: &str, code: Code) -> (String, String) {
    let mut c = TcpStream::connect(edge).await.unwrap();
    c.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut c).await;
    let body = body_of(&mut c, &head).await;
    check(&head, &body, code);
    (head, body)
}

fn check(head: &str, body: &str, code: Code) {
    assert_eq!(status(head), code.status(), "{code}: {head}");
    assert!(head.contains(&format!("X-Tollgate-Error: {code}\r\n")), "{head}");
    let proxy_status = format!("Proxy-Status: tollgate; error={}; details=\"{code}: ", code.proxy_status());
    assert!(head.contains(&proxy_status), "{head}");
    assert!(head.contains("X-Correlation-Id: "), "{head}");
    let json: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(json["error"]["code"], code.as_str());
    assert_eq!(json["error"]["status"], code.status());
    assert!(!json["error"]["how_to_fix"].as_str().unwrap().is_empty());
    assert!(!json["error"]["message"].as_str().unwrap().is_empty());
    assert!(!head.contains(PASSWORD) && !body.contains(PASSWORD));
}

fn ask(target: &str, user: &str, password: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nProxy-Authorization: {}\r\n\r\n", basic(user, password))
}

async fn nothing_was_counted(w: &World) {
    assert_eq!(w.rows().await.bytes(), 0);
    assert_eq!(w.rows().await.connections, 0);
    assert_eq!(w.allowance(&plan_bucket()).await.used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_before_a_route_is_sought() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let (head, _) = refused(at, "CONNECT echo.test:443 HTTP/1.1\r\n\r\n", Code::AuthRequired).await;
    assert!(head.contains("Proxy-Authenticate: Basic realm=\"tollgate\""), "{head}");
    assert!(head.contains("Connection: close"), "{head}");
    refused(at, "CONNECT echo.test:443 HTTP/1.1\r\nProxy-Authorization: Bearer x\r\n\r\n", Code::AuthRequired).await;
    refused(at, "CONNECT echo.test:443 HTTP/1.1\r\nProxy-Authorization: Basic !\r\n\r\n", Code::AuthFailed).await;
    refused(at, &ask("echo.test:443", "demo", "wrong"), Code::AuthFailed).await;
    refused(at, &ask("echo.test:443", "nobody", PASSWORD), Code::AuthFailed).await;
    refused(at, &ask("echo.test:443", "demo-color-blue", PASSWORD), Code::UsernameInvalid).await;
    refused(at, &ask("echo.test:443", &format!("demo-line-{}", "x".repeat(300)), PASSWORD), Code::UsernameInvalid)
        .await;
    refused(at, &ask("echo.test:443", "demo-country-xx", PASSWORD), Code::CountryUnknown).await;
    refused(at, &ask("echo.test", "demo", PASSWORD), Code::RequestInvalid).await;
    refused(at, &ask("127.0.0.1:80", "demo", PASSWORD), Code::DestBlocked).await;
    refused(at, &ask("169.254.169.254:80", "demo", PASSWORD), Code::DestBlocked).await;
    refused(at, &ask("mail.test:25", "demo", PASSWORD), Code::DestBlocked).await;
    let auth = basic("demo", PASSWORD);
    let with = |line: &str, rest: &str| format!("{line}\r\nProxy-Authorization: {auth}\r\n{rest}\r\n");
    refused(at, &with("GET /elsewhere HTTP/1.1", "Host: x\r\n"), Code::RequestInvalid).await;
    refused(at, &with("GET https://echo.test/ HTTP/1.1", ""), Code::RequestInvalid).await;
    refused(at, &with("GET http://u@echo.test/ HTTP/1.1", ""), Code::RequestInvalid).await;
    refused(at, &with("TRACE http://echo.test/ HTTP/1.1", ""), Code::MethodNotAllowed).await;
    let smuggled = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
    refused(at, &with("POST http://echo.test/ HTTP/1.1", smuggled), Code::RequestInvalid).await;
    refused(at, &with("CONNECT echo.test:443 HTTP/1.1", "Content-Length: 3\r\n"), Code::RequestInvalid).await;
    assert!(w.assigner.asked.lock().unwrap().is_empty());
    assert!(w.upstream.heads().is_empty());
    assert!(edge.snapshot().refusals.contains(&(Code::DestBlocked, 3)));
    edge.drain(Duration::from_secs(1)).await.unwrap();
    nothing_was_counted(&w).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_headers_is_too_large() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let (mut r, mut s) = c.split();
    let huge = format!("CONNECT echo.test:443 HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let send = async {
        let _ = s.write_all(huge.as_bytes()).await;
    };
    let receive = async {
        let mut all = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut r, &mut all).await;
        String::from_utf8(all).unwrap()
    };
    let ((), answer) = tokio::join!(send, receive);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    check(&format!("{head}\r\n"), body, Code::HeaderTooLarge);
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_speaks_the_language_of_who_asks() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let request = "CONNECT echo.test:443 HTTP/1.1\r\nAccept-Language: pt-BR\r\nX-Correlation-Id: abc-1\r\n\r\n";
    let (head, body) = refused(edge.gateway_addr(), request, Code::AuthRequired).await;
    assert!(head.contains("Content-Language: pt-BR") && head.contains("X-Correlation-Id: abc-1\r\n"), "{head}");
    assert!(body.contains(Code::AuthRequired.message(tollgate_domain::refusal::Lang::PtBr)), "{body}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_lack_of_bytes_threads_or_an_exit() {
    let w = World::new(1 << 20, Limits { threads: 2, thread_burst_milli: 1500, ..limits() }).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    // ceil(2 × 1.5) = 3 tunnels; the fourth is refused.
    let mut held = Vec::new();
    for _ in 0..3 {
        let (c, head) = connect(at, "silent.test:1", "demo-line-a-country-be", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        held.push(c);
    }
    let (head, _) = refused(at, &ask("silent.test:1", "demo-line-a-country-be", PASSWORD), Code::ThreadsExceeded).await;
    assert!(head.contains("Retry-After: "), "{head}");
    drop(held);
    // The line was made for Belgium.
    crate::support::eventually("tunnels end", || async { edge.snapshot().open_tunnels == 0 }).await;
    refused(at, &ask("echo.test:1", "demo-line-a-country-de", PASSWORD), Code::LineMismatch).await;
    refused(at, &ask("echo.test:1", "demo-line-a-type-mobile", PASSWORD), Code::LineMismatch).await;
    // The assigner's own words arrive.
    let none = Refusal::new(Code::NoProxyAvailable, "tried be: out of stock").retry_after(7);
    *w.assigner.refusal.lock().unwrap() = Some(none);
    let (head, body) = refused(at, &ask("echo.test:1", "demo-line-b", PASSWORD), Code::NoProxyAvailable).await;
    assert!(head.contains("Retry-After: 7\r\n") && body.contains("tried be"), "{head}{body}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!(w.rows().await.bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_lack_of_quota() {
    let w = World::new(0, limits()).await;
    let edge = w.start().await;
    refused(edge.gateway_addr(), &ask("echo.test:1", "demo", PASSWORD), Code::QuotaExhausted).await;
    assert!(w.assigner.asked.lock().unwrap().is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!(w.rows().await.connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_refuses_is_not_billed() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    let request = ask("echo.test:1", "demo", PASSWORD);
    for (answer, code) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\nx-brd-err-code: client_10001\r\n\r\n", Code::UpstreamAuth),
        ("HTTP/1.1 502 Bad Gateway\r\nProxy-Status: x; details=\"client-10060: gone\"\r\n\r\n", Code::UpstreamConnect),
        ("HTTP/1.1 200 OK\r\nx-brd-err-code: target_40001\r\n\r\n", Code::UpstreamConnect),
        ("HTTP/1.1 504 Gateway Timeout\r\n\r\n", Code::UpstreamTimeout),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Code::UpstreamConnect),
        ("", Code::UpstreamConnect),
        ("not http at all\r\n\r\n", Code::UpstreamConnect),
    ] {
        w.upstream.set(Mood::Says(answer));
        refused(at, &request, code).await;
    }
    // An address that is no longer ours is asked for anew.
    let asked: Vec<_> = w.assigner.asked.lock().unwrap().iter().map(|ask| ask.lost.is_some()).collect();
    // At first; at once after client_10060, saying so; and again, for that one was gone too. (The
    // feed may tell of the provider's row meanwhile, which forgets routes as well.)
    assert!(asked.len() >= 3 && !asked[0], "{asked:?}");
    assert_eq!(asked.iter().filter(|lost| **lost).count(), 1, "{asked:?}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
    nothing_was_counted(&w).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_gateway_is_a_502_and_a_gateway_in_a_special_range_is_not_dialled() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.dial_allow.clear();
    let edge = w.start().await;
    let (_, body) = refused(edge.gateway_addr(), &ask("echo.test:1", "demo", PASSWORD), Code::UpstreamConnect).await;
    assert!(body.contains("not allowed"), "{body}");
    assert!(w.upstream.heads().is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();

    w.config.dial_allow = vec!["127.0.0.0/8".parse().unwrap()];
    let edge = w.start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut row = w.store.provider(&"brd".parse().unwrap()).await.unwrap().unwrap();
    (row.gateway_port, row.ver) = (closed.port(), row.ver + 1);
    assert!(w.store.put_provider(&row, w.now()).await.unwrap());
    refused(edge.gateway_addr(), &ask("echo.test:1", "demo", PASSWORD), Code::UpstreamConnect).await;
    edge.drain(Duration::from_secs(1)).await.unwrap();
    nothing_was_counted(&w).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_wrong_passwords_block_their_source() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let at = edge.gateway_addr();
    for _ in 0..10 {
        refused(at, &ask("echo.test:1", "demo", "wrong"), Code::AuthFailed).await;
    }
    let (head, _) = refused(at, &ask("echo.test:1", "demo", PASSWORD), Code::AuthFailed).await;
    assert!(head.contains("Retry-After: 1800") || head.contains("Retry-After: 1799"), "{head}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connect_closes_the_connection() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let twice = format!("CONNECT echo.test:1 HTTP/1.1\r\n\r\n{}", ask("echo.test:1", "demo", PASSWORD));
    c.write_all(twice.as_bytes()).await.unwrap();
    c.shutdown().await.unwrap();
    let all = String::from_utf8(read_all(&mut c).await).unwrap();
    assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}
