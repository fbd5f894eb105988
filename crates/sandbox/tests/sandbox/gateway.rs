use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tollgate_domain::time::Clock as _;
use tollgate_sandbox::{ByteCount, Dialects, RefusalForm};

use crate::faults::until;
use crate::support::{Answer, PASSWORD, basic, exchange, head, world};

#[tokio::test]
async fn a_tunnel_names_its_exit_and_the_origin_sees_it() {
    let w = world().await;
    let (_, ip) = (w.bought("de").await, w.bought("nl").await);
    let (mut tunnel, established) = w.tunnel("origin.test:80", &format!("-ip-{ip}")).await;
    assert_eq!(established.status, 200);
    assert_eq!(established.headers["x-brd-ip"], ip.to_string());
    tunnel.write_all(b"GET /ip HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut raw = Vec::new();
    tunnel.read_to_end(&mut raw).await.unwrap();
    let seen = Answer::parse(&raw);
    assert_eq!(seen.json(), json!({"ip": ip, "country": "nl"}));
    assert!(seen.text().ends_with("}\n"));
}

#[tokio::test]
async fn refusals_carry_the_catalogues_status_code_and_headers() {
    let w = world().await;
    let ip = w.bought("nl").await;
    let user = w.user("");
    for (auth, status, code) in [
        (String::new(), 407, "client_10010"),
        ("Proxy-Authorization: Bearer x\r\n".to_owned(), 407, "client_10000"),
        ("Proxy-Authorization: Basic %%%\r\n".to_owned(), 407, "client_10000"),
        (basic(&user, "wrong"), 407, "client_10000"),
        (basic("somebody", PASSWORD), 407, "client_10000"),
        (basic(&user.replace("c_sandbox", "c_other"), PASSWORD), 407, "client_10000"),
        (basic(&user.replace("isp_sandbox", "gone"), PASSWORD), 407, "client_10002"),
        (basic("brd-customer-c_sandbox", PASSWORD), 407, "client_10002"),
        (w.auth("-session-a*b"), 407, "client_10001"),
        (w.auth("-ip-203.0.113.99"), 400, "client_10060"),
        (w.auth("-ip-203.0.113"), 400, "client_10063"),
        (w.auth("-country-de"), 400, "client_10062"),
        (w.auth(&format!("-ip-{ip}-country-de")), 400, "client_10062"),
    ] {
        for request in [
            format!("CONNECT origin.test:80 HTTP/1.1\r\n{auth}\r\n"),
            format!("GET http://origin.test/ip HTTP/1.1\r\n{auth}\r\n"),
        ] {
            let answer = w.proxied(&request).await;
            assert_eq!((answer.status, answer.headers["x-brd-err-code"].as_str()), (status, code), "{request}");
            assert!(!answer.headers["x-brd-error"].is_empty());
            let long = &answer.headers["x-brd-err-msg"];
            let proxy_status = &answer.headers["proxy-status"];
            assert!(
                proxy_status.starts_with(&format!("brd.superproxy.io; received-status={status}; error="))
                    && proxy_status.ends_with(&format!("details=\"{code}: {long}\"")),
                "{proxy_status}"
            );
            assert_eq!(answer.headers.contains_key("proxy-authenticate"), status == 407);
        }
    }
    let unallocated = w.proxied(&format!("CONNECT origin.test:80 HTTP/1.1\r\n{}\r\n", w.auth("-ip-1.2.3.4"))).await;
    assert!(unallocated.headers["proxy-status"].contains("error=\"destination_ip_unroutable\""));
    assert!(w.sandbox.bytes().is_empty());
}

#[tokio::test]
async fn an_empty_zone_has_no_peer() {
    let w = world().await;
    let (_, refused) = w.tunnel("origin.test:80", "").await;
    assert_eq!((refused.status, refused.headers["x-brd-err-code"].as_str()), (400, "client_10061"));
}

#[tokio::test]
async fn only_sandbox_names_are_reached() {
    let w = world().await;
    let addr = w.sandbox.origin_http_addr();
    w.bought("nl").await;
    for (target, code) in [
        ("origin.test:22".to_owned(), "target_40020"),
        ("example.com:443".to_owned(), "target_40001"),
        (addr.to_string(), "target_40001"),
    ] {
        let (_, refused) = w.tunnel(&target, "").await;
        assert_eq!((refused.status, refused.headers["x-brd-err-code"].as_str()), (502, code), "{target}");
    }
    w.sandbox.map_name("mine.test:8080", addr);
    assert_eq!(w.tunnel("mine.test:8080", "").await.1.status, 200);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    w.sandbox.map_name("closed.test:80", closed);
    assert_eq!(w.tunnel("closed.test:80", "").await.1.headers["x-brd-err-code"], "target_40020");
}

#[tokio::test]
async fn requests_that_are_not_for_a_proxy_are_refused() {
    let w = world().await;
    w.bought("nl").await;
    for line in ["CONNECT origin.test HTTP/1.1", "GET /ip HTTP/1.1", "GET https://origin.test/ HTTP/1.1", "?"] {
        let answer = w.proxied(&format!("{line}\r\n{}\r\n", w.auth(""))).await;
        assert_eq!(answer.status, 400, "{line}");
        assert!(!answer.headers.contains_key("x-brd-err-code"));
    }
    let huge = w.proxied(&format!("GET http://origin.test/ HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))).await;
    assert_eq!(huge.status, 431);
}

#[tokio::test]
async fn tunnel_counters_equal_the_payload_in_both_directions() {
    let w = world().await;
    let ip = w.bought("nl").await;
    let flags = format!("-ip-{ip}");
    let request = b"GET /bytes/3000000 HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n";

    // Payload that arrives together with the CONNECT counts, too.
    let connect = format!("CONNECT origin.test:80 HTTP/1.1\r\n{}\r\n", w.auth(&flags));
    let raw = exchange(w.sandbox.gateway_addr(), &[connect.as_bytes(), request].concat()).await;
    let payload = &raw[raw.windows(4).position(|b| b == b"\r\n\r\n").unwrap() + 4..];
    let body = Answer::parse(payload).body;
    assert_eq!(body.len(), 3_000_000);
    assert!(body.iter().enumerate().all(|(i, b)| i % 251 == usize::from(*b)));

    let moved = ByteCount { up: request.len() as u64, down: payload.len() as u64 };
    until(|| w.sandbox.total_bytes() == moved).await;
    assert_eq!(w.sandbox.bytes_of_user(&w.user(&flags)), moved);
    assert_eq!(w.sandbox.bytes_of_ip(ip), moved);
    assert_eq!(w.sandbox.bytes_of_user("nobody").total(), 0);

    let day = w.clock.now().day();
    let bw = w.get(&format!("/zone/bw?zone=isp_sandbox&from={day}&to=2030-01-01")).await.json();
    let custom = &bw["c_sandbox"]["sums"]["isp_sandbox"]["custom"];
    assert_eq!(*custom, json!({"bw_sum": moved.total(), "bw_up": moved.up, "bw_dn": moved.down}));
}

#[tokio::test]
async fn each_side_of_a_tunnel_ends_in_its_own_time() {
    let w = world().await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    w.sandbox.map_name("half.test:7", server.local_addr().unwrap());
    w.bought("nl").await;
    let (mut client, _) = w.tunnel("half.test:7", "").await;
    let (mut peer, _) = server.accept().await.unwrap();

    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"question");
    peer.write_all(b"the answer, after the end of the question").await.unwrap();
    drop(peer);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "the answer, after the end of the question");
    assert_eq!(w.sandbox.total_bytes(), ByteCount { up: 8, down: 41 });
}

#[tokio::test]
async fn a_connection_carries_many_absolute_form_requests_with_exact_counts() {
    let w = world().await;
    let ip = w.bought("nl").await;
    let auth = w.auth("");
    let mut client = TcpStream::connect(w.sandbox.gateway_addr()).await.unwrap();
    let (mut sent, mut received) = (0, 0);
    for (request, body, answer) in [
        ("GET http://origin.test/ip HTTP/1.1\r\n", "", format!("{{\"ip\":\"{ip}\",\"country\":\"nl\"}}\n")),
        ("POST http://origin.test/echo HTTP/1.1\r\nContent-Length: 5\r\n", "hello", "hello".to_owned()),
        (
            "POST http://origin.test:80/sink HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "3\n".into(),
        ),
        ("HEAD http://origin.test/bytes/9 HTTP/1.1\r\n", "", String::new()),
    ] {
        let request = format!("{request}Host: origin.test\r\n{auth}\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        sent += request.len();
        let raw_head = head(&mut client).await;
        let head = Answer::parse(&raw_head);
        assert_eq!((head.status, head.headers["x-brd-ip"].clone()), (200, ip.to_string()));
        assert_eq!(head.headers["connection"], "keep-alive");
        let mut body = vec![0; answer.len()];
        client.read_exact(&mut body).await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), answer);
        received += raw_head.len() + answer.len();
    }
    assert_eq!(w.sandbox.total_bytes(), ByteCount { up: sent as u64, down: received as u64 });
}

#[tokio::test]
async fn a_streamed_answer_and_an_interim_one_pass_through() {
    let w = world().await;
    w.bought("nl").await;
    let auth = w.auth("");
    let mut client = TcpStream::connect(w.sandbox.gateway_addr()).await.unwrap();
    let post = format!(
        "POST http://origin.test/echo HTTP/1.1\r\nHost: origin.test\r\n{auth}Expect: 100-continue\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    client.write_all(post.as_bytes()).await.unwrap();
    assert_eq!(head(&mut client).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"2\r\nhi\r\n0\r\n\r\n").await.unwrap();
    let mut raw = Vec::new();
    client.read_to_end(&mut raw).await.unwrap();
    let answer = Answer::parse(&raw);
    assert_eq!((answer.status, answer.text()), (200, "2\r\nhi\r\n0\r\n\r\n"));
    assert_eq!(answer.headers["connection"], "close");
}

#[tokio::test]
async fn an_origin_that_ends_by_closing_ends_the_clients_connection() {
    let w = world().await;
    w.bought("nl").await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    w.sandbox.map_name("old.test:80", server.local_addr().unwrap());
    let origin = tokio::spawn(async move {
        for answer in ["HTTP/1.0 200 OK\r\n\r\nuntil the end", "", "nonsense\r\n\r\n"] {
            let (mut stream, _) = server.accept().await.unwrap();
            head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let request = format!("GET http://old.test/ HTTP/1.1\r\nHost: old.test\r\n{}\r\n", w.auth(""));
    let answer = w.proxied(&request).await;
    assert_eq!((answer.status, answer.text()), (200, "until the end"));
    for _ in 0..2 {
        assert_eq!(w.proxied(&request).await.headers["x-brd-err-code"], "target_40020");
    }
    origin.await.unwrap();
}

#[tokio::test]
async fn without_an_address_the_zone_rotates_and_a_session_stays() {
    let w = world().await;
    let (a, b) = (w.bought("nl").await, w.bought("nl").await);
    w.bought("de").await;
    let mut exits = Vec::new();
    for flags in ["-country-nl", "-country-nl-session-s1", "-country-nl", "-country-nl-session-s1"] {
        exits.push(w.tunnel("origin.test:80", flags).await.1.headers["x-brd-ip"].clone());
    }
    let [a, b] = [a.to_string(), b.to_string()];
    assert_eq!(exits, [a.clone(), b.clone(), a, b]);
}

#[tokio::test]
async fn the_super_proxy_goes_down_and_comes_back_at_the_same_address() {
    let w = world().await;
    w.bought("nl").await;
    let (mut tunnel, _) = w.tunnel("origin.test:80", "").await;
    w.sandbox.gateway().set_down(true).await;
    assert!(TcpStream::connect(w.sandbox.gateway_addr()).await.is_err());
    assert!(!matches!(tunnel.read(&mut [0; 1]).await, Ok(1..)), "the live tunnel is cut");
    w.sandbox.gateway().set_down(false).await;
    assert_eq!(w.tunnel("origin.test:80", "").await.1.status, 200);
}

#[tokio::test]
async fn the_super_proxy_refuses_and_delays_on_demand() {
    let w = world().await;
    w.bought("nl").await;
    assert!(!w.sandbox.gateway().refuse_with(Some("client_99999")));
    assert!(w.sandbox.gateway().refuse_with(Some("client_10020")));
    let (_, refused) = w.tunnel("origin.test:80", "").await;
    assert_eq!((refused.status, refused.headers["x-brd-err-code"].as_str()), (407, "client_10020"));
    assert!(w.sandbox.gateway().refuse_with(None));

    let delay = Duration::from_millis(150);
    w.sandbox.gateway().set_dial_delay(delay);
    let began = Instant::now();
    assert_eq!(w.tunnel("origin.test:80", "").await.1.status, 200);
    assert!(began.elapsed() >= delay);
}

#[tokio::test]
async fn a_refusal_is_worded_in_four_forms() {
    let w = world().await;
    let ip = w.sandbox.buy_by_hand("nl", 1)[0];
    assert!(w.sandbox.take_away(ip) && !w.sandbox.take_away(ip));
    let flags = format!("-ip-{ip}");
    let details = |code: &str| {
        format!(
            "brd.superproxy.io; received-status=400; error=\"destination_ip_unroutable\"; \
             details=\"{code}: The requested IP is not in this zone\""
        )
    };
    for (refusal, status, code_header, proxy_status) in [
        (RefusalForm::Documented, 400, Some("x-brd-err-code"), Some(details("client_10060"))),
        (RefusalForm::ErrorCodeHeader, 400, Some("x-brd-error-code"), Some(details("client_10060"))),
        (RefusalForm::ProxyStatusAlone, 400, None, Some(details("client-10060"))),
        (RefusalForm::Status200, 200, Some("x-brd-err-code"), None),
    ] {
        w.sandbox.set_dialects(Dialects { refusal, ..Dialects::default() });
        let (_, answer) = w.tunnel("origin.test:80", &flags).await;
        assert_eq!(answer.status, status, "{refusal:?}");
        assert_eq!(answer.headers.get("proxy-status"), proxy_status.as_ref(), "{refusal:?}");
        for name in ["x-brd-err-code", "x-brd-error-code"] {
            let expected = (code_header == Some(name)).then(|| "client_10060".to_owned());
            assert_eq!(answer.headers.get(name), expected.as_ref(), "{refusal:?}");
        }
        assert!(!answer.headers.contains_key("x-brd-ip"));
    }
}

#[tokio::test]
async fn among_many_tunnels_the_origin_tells_each_exit_apart() {
    let w = Arc::new(world().await);
    w.sandbox.set_stock("nl", 50);
    let exits = w.buy("nl", 50).await.ips("new_ips");
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..4 {
        for ip in exits.clone() {
            let w = Arc::clone(&w);
            tasks.spawn(async move {
                let request = format!(
                    "GET http://origin.test/ip HTTP/1.1\r\nHost: origin.test\r\n{}Connection: close\r\n\r\n",
                    w.auth(&format!("-ip-{ip}"))
                );
                assert_eq!(w.proxied(&request).await.json()["ip"], ip.to_string(), "round {round}");
            });
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}
