//! Upstreams of every kind; and where the edge dials itself, where it may.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::id::ProxyId;
use tollgate_domain::provider::Provider;
use tollgate_domain::upstream::Scheme;

use crate::support::client::{answer, request};
use crate::support::ports::{direct, with_rows};
use crate::support::socks::{self, CONNECT, Seen, SocksUpstream};
use crate::support::tls::Identity;
use crate::support::upstream::Mood;
use crate::support::world::{PASSWORD, limits};
use crate::support::{Upstream, World, basic, connect, read_all, status};

const MIB: u64 = 1 << 20;
const GATEWAY_USER: &str = "brd-customer-c_1-zone-isp-ip-203.0.113.7";

async fn echoes(c: &mut TcpStream, bytes: usize) {
    let sent = vec![b'u'; bytes];
    let mut back = vec![0; bytes];
    let (mut r, mut s) = c.split();
    let (a, b) = tokio::join!(s.write_all(&sent), r.read_exact(&mut back));
    a.unwrap();
    b.unwrap();
    assert!(back == sent);
}

/// One absolute-form request; head and body of the answer.
async fn get(at: SocketAddr, url: &str) -> (String, String) {
    let mut c = TcpStream::connect(at).await.unwrap();
    c.write_all(request("GET", url, "").as_bytes()).await.unwrap();
    answer(&mut c).await
}

/// A listener that must never be reached.
struct Canary(std::net::TcpListener);

impl Canary {
    fn new(ip: [u8; 4]) -> Self {
        let listener = std::net::TcpListener::bind(SocketAddr::from((ip, 0))).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn is_untouched(&self) -> bool {
        self.0.accept().is_err()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks5_gateway_is_told_who_we_are_and_the_name_unresolved() {
    let gateway = SocksUpstream::start().await;
    let at = gateway.addr;
    let change = |p: &mut Provider| (p.protocol, p.gateway_port) = (Scheme::Socks5, at.port());
    let w = World::with_provider(100 * MIB, limits(), change).await;
    let edge = w.start().await;
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let asked = socks::ask(&mut c, ("demo", PASSWORD), &socks::request(CONNECT, "2606:4700::1", 443)).await;
    assert_eq!(asked, socks::SUCCEEDED);
    echoes(&mut c, 100_000).await;
    drop(c);
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echoes(&mut c, 2_000_000).await;
    drop(c);
    // An origin behind it is asked in its own form, and without anybody's credentials.
    let (head, body) = get(edge.gateway_addr(), "http://origin.test/x?y").await;
    assert_eq!((status(&head), body.as_str()), (200, "GET /x?y HTTP/1.1"), "{head}");
    assert!(!gateway.heads.lock().unwrap()[0].contains("Proxy-Authorization"));
    let seen = |target: &str| Seen {
        user: GATEWAY_USER.into(),
        password: "zone-password".into(),
        command: CONNECT,
        target: target.into(),
    };
    assert_eq!(gateway.seen(), [seen("[2606:4700::1]:443"), seen("echo.test:443"), seen("origin.test:80")]);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let asked = request("GET", "http://origin.test/x?y", "").len();
    let rows = w.rows().await;
    let (up, down) = (2_100_000 + asked, 2_100_000 + head.len() + body.len());
    assert_eq!((rows.ingress, rows.egress), (up as u64, down as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_behind_tls_is_believed_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::write(folder.path(), "gateway");
    let gateway = Upstream::start_tls(identity.acceptor()).await;
    let at = gateway.addr;
    let change = |p: &mut Provider| (p.protocol, p.gateway_port) = (Scheme::Https, at.port());
    let mut w = World::with_provider(100 * MIB, limits(), change).await;
    w.config.upstream_ca_file = Some(identity.certificate.clone());
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echoes(&mut c, 1_000_000).await;
    c.shutdown().await.unwrap();
    assert!(read_all(&mut c).await.is_empty());
    let (mut c, _) = connect(edge.gateway_addr(), "kilobytes.test:700", "demo", PASSWORD).await;
    assert_eq!(read_all(&mut c).await.len(), 700_000);
    drop(c);
    let (head, body) = get(edge.gateway_addr(), "http://origin.test/x").await;
    assert_eq!((status(&head), body.as_str()), (200, "GET http://origin.test/x HTTP/1.1"), "{head}");
    assert!(gateway.heads()[0].contains(&basic(GATEWAY_USER, "zone-password")));
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let asked = request("GET", "http://origin.test/x", "").len();
    let rows = w.rows().await;
    let (up, down) = (1_000_000 + asked, 1_700_000 + head.len() + body.len());
    assert_eq!((rows.ingress, rows.egress), (up as u64, down as u64));

    // Another authority's word is not enough.
    let stranger = Identity::write(folder.path(), "stranger");
    w.config.upstream_ca_file = Some(stranger.certificate);
    let edge = w.start().await;
    let heard = gateway.heads().len();
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 502, "{head}");
    assert_eq!(gateway.heads().len(), heard);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_makes_the_name_that_the_gateway_is_told() {
    let change = |p: &mut Provider| {
        p.user_template = Some("{user}_area-{country}_session-{session}_{ip}".into());
    };
    let w = World::with_provider(MIB, limits(), change).await;
    let edge = w.start().await;
    let (c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo-line-chip1", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let auth = basic("c_1_area-nl_session-chip1_203.0.113.7", "zone-password");
    assert!(w.upstream.heads()[0].contains(&format!("\r\nProxy-Authorization: {auth}\r\n")));
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_says_how_long_it_lives() {
    let change = |p: &mut Provider| p.user_template = Some("{user}_life-{life}_session-{chipId}_{what}".into());
    let w = World::with_provider(MIB, limits(), change).await;
    let edge = w.start().await;
    // Sessions use line `a`; a line that is no session has no life.
    for (user, told) in [
        ("demo-session-s1-life-15", "c_1_life-15_session-a_{what}"),
        ("demo-session-s2", "c_1_life-30_session-a_{what}"),
        ("demo-line-b", "c_1_life-_session-b_{what}"),
    ] {
        let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", user, PASSWORD).await;
        assert_eq!(status(&head), 200, "{user}: {head}");
        let asked = w.upstream.heads().pop().unwrap();
        assert!(asked.contains(&basic(told, "zone-password")), "{user}: {asked}");
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_a_rows_template_is_filled() {
    let mut w = World::new(MIB, limits()).await;
    let at = w.upstream.addr;
    // A row has no account of its own; its address is its host.
    let fields = [
        ("{user}", "."),
        ("{session}", ".session.s7"),
        ("{chipId}", ".session.s7"),
        ("{country}", ".nl"),
        ("{life}", ".20"),
        ("{ip}", ".127.0.0.1"),
        ("{other}", ".{other}"),
    ];
    let rows: String = fields.iter().map(|(field, _)| format!(".{field}:p@{at} country=nl\n")).collect();
    let bind = with_rows(&mut w, &rows);
    let edge = w.start().await;
    for (port, (field, told)) in (4000..).zip(fields) {
        let (_c, head) = connect((bind, port).into(), "echo.test:443", "demo-session-s7-life-20", PASSWORD).await;
        assert_eq!(status(&head), 200, "{field}: {head}");
        let asked = w.upstream.heads().pop().unwrap();
        assert!(asked.contains(&basic(told, "p")), "{field}: {asked}");
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_lost_is_replaced_before_the_client_hears_of_it() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    w.upstream.set(Mood::Once("HTTP/1.1 502 Bad Gateway\r\nX-Brd-Err-Code: client_10060\r\n\r\n"));
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echoes(&mut c, 1000).await;
    let lost: Vec<_> = w.assigner.asked.lock().unwrap().iter().map(|a| a.lost.clone()).collect();
    let gone = ProxyId { provider: "brd".parse().unwrap(), ip: "203.0.113.7".into() };
    assert_eq!(lost, [None, Some(gone)]);
    assert_eq!(w.upstream.heads().len(), 2);
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (1000, 1000, 1));
}

// === no upstream: the edge dials targets itself ===

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_port_reaches_the_target_itself() {
    let mut w = World::new(MIB, limits()).await;
    let door = direct(&mut w);
    w.resolver.set("origin.test", [[127, 0, 0, 1]]);
    let edge = w.start().await;
    let port = w.upstream.addr.port();
    let (head, body) = get(door, &format!("http://origin.test:{port}/x?y")).await;
    assert_eq!((status(&head), body.as_str()), (200, "GET /x?y HTTP/1.1"), "{head}");
    let (head, body) = get(door, &format!("http://origin.test:{port}")).await;
    assert_eq!((status(&head), body.as_str()), (200, "GET / HTTP/1.1"), "{head}");
    let seen = w.upstream.heads();
    assert!(seen[0].contains(&format!("\r\nHost: origin.test:{port}\r\n")), "{}", seen[0]);
    assert!(!seen[0].contains("Proxy-Authorization"), "{}", seen[0]);
    // A tunnel: what is said in it is the client's own.
    let (mut c, head) = connect(door, &format!("origin.test:{port}"), "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    c.write_all(b"GET /mine HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut c).await.1, "GET /mine HTTP/1.1");
    assert!(w.assigner.asked.lock().unwrap().is_empty());
    drop(c);
    // What does not exist, or does not listen, is no fault of the client.
    let (_c, head) = connect(door, "nowhere.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 502, "{head}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_c, head) = connect(door, &format!("origin.test:{closed}"), "demo", PASSWORD).await;
    assert_eq!(status(&head), 502, "{head}");
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_to_one_origin_is_not_anothers() {
    let mut w = World::new(MIB, limits()).await;
    let door = direct(&mut w);
    let other = Upstream::start().await;
    w.resolver.set("a.test", [[127, 0, 0, 1]]);
    w.resolver.set("b.test", [[127, 0, 0, 1]]);
    let edge = w.start().await;
    let mut c = TcpStream::connect(door).await.unwrap();
    for (name, at) in [("a.test", w.upstream.addr), ("b.test", other.addr), ("a.test", w.upstream.addr)] {
        c.write_all(request("GET", &format!("http://{name}:{}/x", at.port()), "").as_bytes()).await.unwrap();
        assert_eq!(status(&answer(&mut c).await.0), 200);
    }
    assert_eq!((w.upstream.heads().len(), other.heads().len()), (2, 1));
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_into_a_special_range_is_not_dialled() {
    let mut w = World::new(MIB, limits()).await;
    let door = direct(&mut w);
    w.config.target_allow = vec!["127.0.0.1/32".parse().unwrap()];
    let canary = Canary::new([127, 0, 0, 3]);
    w.resolver.set("evil.test", [[127, 0, 0, 3]]);
    w.resolver.set("cloud.test", [[169, 254, 169, 254]]);
    w.resolver.set("home.test", [[10, 0, 0, 1], [192, 168, 0, 1]]);
    w.resolver.set("mixed.test", [[127, 0, 0, 3], [127, 0, 0, 1]]);
    let edge = w.start().await;
    for name in ["evil.test", "cloud.test", "home.test"] {
        let (_c, head) = connect(door, &format!("{name}:{}", canary.port()), "demo", PASSWORD).await;
        assert_eq!(status(&head), 403, "{name}: {head}");
        assert!(head.contains("X-Tollgate-Error: DEST_BLOCKED\r\n"), "{head}");
        let (head, _) = get(door, &format!("http://{name}:{}/", canary.port())).await;
        assert_eq!(status(&head), 403, "{name}: {head}");
        let mut c = TcpStream::connect(door).await.unwrap();
        let ask = socks::request(CONNECT, name, canary.port());
        assert_eq!(socks::ask(&mut c, ("demo", PASSWORD), &ask).await, socks::refused(2), "{name}");
    }
    // Of several addresses only those that may be dialled are.
    let (head, _) = get(door, &format!("http://mixed.test:{}/x", w.upstream.addr.port())).await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(canary.is_untouched());
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_judged_is_what_is_dialled() {
    let mut w = World::new(MIB, limits()).await;
    let door = direct(&mut w);
    w.config.workers = 1;
    w.config.target_allow = vec!["127.0.0.1/32".parse().unwrap()];
    let port = w.upstream.addr.port();
    // The same port: a second look would find it.
    let canary = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 3], port))).unwrap();
    canary.set_nonblocking(true).unwrap();
    w.resolver.set("turn.test", [[127, 0, 0, 1]]);
    w.resolver.then("turn.test", [[127, 0, 0, 3]]);
    let edge = w.start().await;
    for _ in 0..3 {
        let (head, _) = get(door, &format!("http://turn.test:{port}/x")).await;
        assert_eq!(status(&head), 200, "{head}");
        let (_c, head) = connect(door, &format!("turn.test:{port}"), "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
    }
    assert!(canary.accept().is_err());
    assert_eq!(w.resolver.asked("turn.test"), 1);
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_is_no_target_of_its_own() {
    let mut w = World::new(MIB, limits()).await;
    let door = direct(&mut w);
    w.resolver.set("me.test", [[127, 0, 0, 1]]);
    let edge = w.start().await;
    let own = edge.gateway_addr().port();
    let (_c, head) = connect(door, &format!("me.test:{own}"), "demo", PASSWORD).await;
    assert_eq!(status(&head), 508, "{head}");
    assert!(head.contains("X-Tollgate-Error: LOOP\r\n"), "{head}");
    let (head, _) = get(door, &format!("http://me.test:{own}/ip")).await;
    assert_eq!(status(&head), 508, "{head}");
    edge.drain(Duration::from_secs(1)).await.unwrap();

    // By a name that others know it by, whatever the upstream.
    w.config.own_hosts = vec!["edge.example".into()];
    let edge = w.start().await;
    let own = edge.gateway_addr();
    let (_c, head) = connect(own, &format!("edge.example:{}", own.port()), "demo", PASSWORD).await;
    assert_eq!(status(&head), 508, "{head}");
    assert!(w.upstream.heads().is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_file_lead_to_gateways_of_every_kind() {
    let gateway = SocksUpstream::start().await;
    let mut w = World::new(MIB, limits()).await;
    let (socks, http) = (gateway.addr, w.upstream.addr);
    let rows = format!("socks5://s%40x:p%3Aw@{socks}\nu:p@{http}\nv:p@{http} owner=other\n");
    let bind = with_rows(&mut w, &rows);
    let edge = w.start().await;
    for port in [4000, 4001] {
        let (mut c, head) = connect((bind, port).into(), "echo.test:443", "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        echoes(&mut c, 1000).await;
    }
    assert_eq!((gateway.seen()[0].user.as_str(), gateway.seen()[0].password.as_str()), ("s@x", "p:w"));
    assert!(w.upstream.heads()[0].contains(&basic("u", "p")));
    let (_c, head) = connect((bind, 4002).into(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 403, "{head}");
    assert!(head.contains("X-Tollgate-Error: FORBIDDEN\r\n"), "{head}");
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (2000, 2000));
}
