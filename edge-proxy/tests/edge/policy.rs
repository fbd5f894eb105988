//! The address policy over every way in (CONNECT, absolute-form, Upgrade, SOCKS5 with each form of
//! address, datagrams) and every way out (an HTTP or SOCKS5 upstream, a port of the map, the edge
//! itself), for customers with a password and by their address.
//!
//! Deny unless an operator allows. What is refused has a stable code, is dialled and looked up by
//! nobody, and leaves no byte in the books; what is not is passed on as it was asked for.

mod datagrams;
mod ways;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tollgate_domain::allow::{AllowEntry, AllowNet};
use tollgate_domain::plan::Limits;
use tollgate_domain::provider::Provider;
use tollgate_domain::refusal::Code;
use tollgate_domain::target::TargetRules;
use tollgate_domain::upstream::Scheme;
use tollgate_edge::Edge;
use tollgate_store::allow::Allowed;

use crate::support::ports::{FIRST, direct, with_rows};
use crate::support::recorder::Recorder;
use crate::support::socks::{self, SocksUpstream};
use crate::support::vectors::{OWN, PORT, address, passed, refused, special};
use crate::support::world::{demo, limits};
use crate::support::{World, eventually};
use datagrams::Datagrams;
use ways::{Door, PATHS, Path, Said, ask, expect, expect_all};

const PATIENCE: Duration = Duration::from_secs(20);
const HERE: [u8; 4] = [127, 0, 0, 1];
/// An address that the customer lists.
const LISTED: [u8; 4] = [127, 0, 0, 9];

fn counted(edge: &Edge) -> BTreeMap<Code, u64> {
    edge.snapshot().refusals.into_iter().collect()
}

fn many() -> Limits {
    Limits { threads: 10_000, ..limits() }
}

/// Nothing was refused but with these codes, and nothing else happened.
fn only_refused(w: &World, edge: &Edge, due: &BTreeMap<Code, u64>) {
    assert_eq!(counted(edge), *due);
    let seen = edge.snapshot();
    assert_eq!((seen.ingress, seen.egress, seen.open_tunnels), (0, 0, 0));
    assert!(w.assigner.asked.lock().unwrap().is_empty());
}

// === through upstreams ===

#[tokio::test(flavor = "multi_thread")]
async fn through_http_upstreams_what_is_special_is_refused_and_the_rest_unchanged() {
    let gateway = Recorder::start().await;
    let at = gateway.addr;
    let mut w = World::with_provider(1 << 30, many(), |p: &mut Provider| p.gateway_port = at.port()).await;
    w.config.own_hosts = OWN.map(str::to_owned).to_vec();
    // Where the edge dials itself, and only there.
    w.config.target_allow = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
    let bind = with_rows(&mut w, &format!("u:p@{at}\n"));
    let entry =
        AllowEntry { net: AllowNet::of(LISTED.into()), customer: demo(), note: String::new(), created_at: w.now() };
    assert!(matches!(w.store.allow_add(&entry, 10, w.now()).await.unwrap(), Allowed::Added(_)));
    let edge = w.start().await;
    let mapped = SocketAddr::new(bind, FIRST);
    let doors = [edge.gateway_addr(), mapped]
        .map(|at| [Door { at, source: HERE, password: true }, Door { at, source: LISTED, password: false }]);
    let doors = doors.concat();

    let mut hosts = refused();
    hosts.extend(OWN.map(|own| (own.to_owned(), edge.gateway_addr().port(), Code::Loop)));
    hosts.extend(OWN.map(|own| (own.to_owned(), FIRST, Code::Loop)));
    let due = expect_all(&doors, &hosts).await;
    only_refused(&w, &edge, &due);
    assert!(gateway.take().await.is_empty());
    assert_eq!((w.resolver.asked_in_all(), w.rows().await.bytes()), (0, 0));

    let mut sent = Vec::new();
    for door in doors {
        for path in PATHS {
            for host in passed() {
                if !expect(door, path, &host, PORT, None).await {
                    continue;
                }
                sent.push(match path {
                    Path::Absolute | Path::Upgrade => format!("GET http://{host}:{PORT}/x HTTP/1.1"),
                    Path::Connect | Path::Socks | Path::SocksName => format!("CONNECT {host}:{PORT} HTTP/1.1"),
                });
            }
        }
    }
    let seen = gateway.take().await;
    let mut seen: Vec<_> = seen.iter().map(|all| String::from_utf8_lossy(all)).collect();
    seen.sort_unstable();
    sent.sort_unstable();
    assert_eq!(seen.len(), sent.len());
    for (seen, sent) in seen.iter().zip(&sent) {
        assert!(seen.starts_with(&format!("{sent}\r\n")), "{sent}: {seen}");
    }
    assert_eq!(w.resolver.asked_in_all(), 0);
    assert_eq!(counted(&edge), due);
    edge.drain(Duration::from_secs(10)).await.unwrap();
}

/// A world behind a SOCKS5 gateway.
async fn socks_world() -> (World, SocksUpstream) {
    let gateway = SocksUpstream::start().await;
    let at = gateway.addr;
    let change = |p: &mut Provider| (p.protocol, p.gateway_port) = (Scheme::Socks5, at.port());
    let mut w = World::with_provider(1 << 30, many(), change).await;
    w.config.own_hosts = OWN.map(str::to_owned).to_vec();
    w.config.target_allow = vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()];
    (w, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_socks5_upstream_what_is_special_is_refused_and_the_rest_unchanged() {
    let (w, gateway) = socks_world().await;
    let edge = w.start().await;
    let door = Door { at: edge.gateway_addr(), source: HERE, password: true };
    let due = expect_all(&[door], &refused()).await;
    only_refused(&w, &edge, &due);
    assert!(gateway.seen().is_empty());
    let mut sent = Vec::new();
    for path in [Path::Connect, Path::Socks, Path::SocksName] {
        for host in passed() {
            if expect(door, path, &host, PORT, None).await {
                sent.push(format!("{host}:{PORT}"));
            }
        }
    }
    let seen: Vec<_> = gateway.seen().into_iter().map(|s| s.target).collect();
    assert_eq!(seen, sent);
    assert_eq!(w.resolver.asked_in_all(), 0);
    edge.drain(Duration::from_secs(10)).await.unwrap();
}

// === datagrams ===

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_through_an_upstream_follow_the_same_rules() {
    let (w, _gateway) = socks_world().await;
    let edge = w.start().await;
    let d = Datagrams::start(edge.gateway_addr()).await;
    let mut hosts = refused();
    hosts.extend(OWN.map(|own| (own.to_owned(), edge.gateway_addr().port(), Code::Loop)));
    let good = socks::datagram("example.com", 53, b"good");
    let (due, rounds) = d.expect_all(&hosts, &good, &good).await;
    assert_eq!(counted(&edge), due);
    let mut moved = 4 * rounds;
    for host in passed() {
        let form = match address(&host) {
            Some(ip) => socks::datagram(&ip.to_string(), PORT, b"pass"),
            None => socks::datagram(&host, PORT, b"pass"),
        };
        d.send(&form).await;
        assert_eq!(d.receive().await, form, "{host}");
        moved += 4;
    }
    // A plan's own rules hold for what is sent next.
    let web = TargetRules { denied_ports: vec![53], ..TargetRules::default() };
    w.store.set_limits(&demo(), &Limits { targets: web, ..many() }, w.now()).await.unwrap().unwrap();
    let before = counted(&edge)[&Code::DestBlocked];
    eventually("the rule is felt", || async {
        d.send(&good).await;
        counted(&edge)[&Code::DestBlocked] > before
    })
    .await;
    assert_eq!(w.resolver.asked_in_all(), 0);
    drop(d);
    edge.drain(Duration::from_secs(10)).await.unwrap();
    let rows = w.rows().await;
    assert!(rows.ingress >= moved && rows.connections == 1, "{rows:?} of {moved}");
}

// === where the edge dials itself ===

/// Listens where nothing may come.
fn canary(ip: [u8; 4], port: u16) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind(SocketAddr::from((ip, port))).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A world with a direct port; one worker, so that a name is looked up once.
async fn direct_world(allow: &[String]) -> (World, Door) {
    let mut w = World::new(1 << 30, many()).await;
    let at = direct(&mut w);
    w.config.workers = 1;
    w.config.target_allow = allow.iter().map(|range| range.parse().unwrap()).collect();
    (w, Door { at, source: HERE, password: true })
}

/// A name for each special address, as a resolver answers it; and some that are mixed.
fn names(w: &World) -> Vec<(String, u16, Code)> {
    let ips: Vec<IpAddr> = special().map(|ip| ip.parse().unwrap()).collect();
    for (n, ip) in ips.iter().enumerate() {
        w.resolver.answer(&format!("n{n}.test"), vec![*ip]);
    }
    w.resolver.answer("all.test", ips.iter().copied().take(16).collect());
    let all = (0..ips.len()).map(|n| format!("n{n}.test")).chain(["all.test".to_owned()]);
    all.map(|name| (name, PORT, Code::DestBlocked)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_edge_dials_itself_addresses_and_names_that_lead_to_them_are_refused() {
    let (w, door) = direct_world(&["127.0.0.1/32".to_owned()]).await;
    let names = names(&w);
    let edge = w.start().await;
    let hosts = [refused(), names.clone()].concat();
    let mut due = expect_all(&[door], &hosts).await;
    only_refused(&w, &edge, &due);

    // Datagrams are resolved here too.
    let echo = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port();
    let d = Datagrams::start(door.at).await;
    let good = socks::datagram("127.0.0.1", port, b"good");
    let answers = tokio::spawn(async move {
        let mut buf = [0; 64];
        loop {
            let (n, from) = echo.recv_from(&mut buf).await.unwrap();
            assert_eq!(&buf[..n], b"good");
            echo.send_to(&buf[..n], from).await.unwrap();
        }
    });
    let (more, rounds) = d.expect_all(&hosts, &good, &good).await;
    more.into_iter().for_each(|(code, n)| *due.entry(code).or_default() += n);
    assert_eq!(counted(&edge), due);
    // Every name was looked up, and nothing else was.
    let asked = names.iter().map(|(name, ..)| w.resolver.asked(name));
    assert!(asked.clone().all(|n| n > 0));
    assert_eq!(asked.sum::<usize>(), w.resolver.asked_in_all());
    drop(d);
    edge.drain(Duration::from_secs(10)).await.unwrap();
    assert!(!answers.is_finished(), "something else arrived");
    answers.abort();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (4 * rounds, 4 * rounds, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_mixed_answers_the_allowed_are_dialled_and_no_later_answer_is() {
    let (w, door) = direct_world(&["127.0.0.1/32".to_owned()]).await;
    let port = w.upstream.addr.port();
    let canary = canary([127, 0, 0, 3], port);
    let (bad, good): (IpAddr, IpAddr) = ([127, 0, 0, 3].into(), HERE.into());
    w.resolver.answer("mixed.test", vec![bad, "fe80::1".parse().unwrap(), good, [10, 0, 0, 1].into()]);
    w.resolver.answer("turn.test", vec![good]);
    w.resolver.then("turn.test", [[127, 0, 0, 3]]);
    let edge = w.start().await;
    for name in ["mixed.test", "turn.test"] {
        for path in [Path::Connect, Path::Absolute, Path::SocksName, Path::Connect] {
            expect(door, path, name, port, None).await;
        }
        assert_eq!(w.resolver.asked(name), 1, "{name}");
    }
    assert!(canary.accept().is_err());
    assert!(counted(&edge).is_empty());
    edge.drain(Duration::from_secs(10)).await.unwrap();
}

// === what an operator allows ===

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_range_is_reached_directly_at_its_port_and_nowhere_else() {
    let upstream = crate::support::Upstream::start().await;
    let port = upstream.addr.port();
    let (w, door) = direct_world(&[format!("127.0.0.0/8:{port}"), "127.0.0.0/8:25".to_owned()]).await;
    w.resolver.answer("here.test", vec![HERE.into()]);
    let other = canary([127, 0, 0, 1], 0);
    let other_port = other.local_addr().unwrap().port();
    let edge = w.start().await;
    let gateway = Door { at: edge.gateway_addr(), ..door };
    for path in [Path::Connect, Path::Absolute, Path::Upgrade, Path::Socks, Path::SocksName] {
        for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "here.test"] {
            expect(door, path, host, port, None).await;
            expect(door, path, host, other_port, Some(Code::DestBlocked)).await;
            expect(door, path, host, 25, Some(Code::DestBlocked)).await;
        }
        // Through an upstream it is not ours to say what the address means.
        expect(gateway, path, "127.0.0.1", port, Some(Code::DestBlocked)).await;
    }
    // What a plan refuses stays refused.
    let closed = TargetRules { denied_ports: vec![port], ..TargetRules::default() };
    w.store.set_limits(&demo(), &Limits { targets: closed, ..many() }, w.now()).await.unwrap().unwrap();
    eventually("the plan's rule is felt", || async {
        ask(door, Path::Connect, "127.0.0.1", port).await == Some(Said::Code(Some(Code::DestBlocked)))
    })
    .await;
    expect(door, Path::Socks, "127.0.0.1", port, Some(Code::DestBlocked)).await;
    assert!(other.accept().is_err());
    edge.drain(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_itself_is_no_target_whatever_is_allowed() {
    let (w, door) = direct_world(&["127.0.0.0/8".to_owned(), "0.0.0.0/0".to_owned()]).await;
    w.resolver.answer("me.test", vec![HERE.into()]);
    let edge = w.start().await;
    let hosts = [
        ("127.0.0.1".to_owned(), edge.gateway_addr().port(), Code::Loop),
        ("me.test".to_owned(), edge.gateway_addr().port(), Code::Loop),
        ("[::ffff:127.0.0.1]".to_owned(), edge.gateway_addr().port(), Code::Loop),
        (door.at.ip().to_string(), FIRST, Code::Loop),
        ("127.0.0.1".to_owned(), edge.admin_addr().port(), Code::Loop),
        ("me.test".to_owned(), edge.admin_addr().port(), Code::Loop),
    ];
    let due = expect_all(&[door], &hosts).await;
    only_refused(&w, &edge, &due);
    edge.drain(Duration::from_secs(10)).await.unwrap();
}
