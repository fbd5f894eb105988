//! UDP ASSOCIATE (RFC 1928 section 7): datagrams both ways, counted by their payload.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tollgate_domain::budget::Bucket;
use tollgate_domain::provider::Provider;
use tollgate_domain::refusal::Code;
use tollgate_domain::upstream::Scheme;

use crate::support::ports::direct;
use crate::support::socks::{self, SocksUpstream, UDP_ASSOCIATE, bound, datagram};
use crate::support::world::{NOON, PASSWORD, limits, plan_bucket};
use crate::support::{World, connect_from, eventually, read_all};

const HERE: [u8; 4] = [127, 0, 0, 1];
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers every datagram with `re:` and the same.
struct Echo {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Echo {
    async fn start() -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(socket: UdpSocket) -> Self {
        let port = socket.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let h = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut buf = vec![0; 64 << 10];
            loop {
                let (n, from) = socket.recv_from(&mut buf).await.unwrap();
                h.lock().unwrap().push(buf[..n].to_vec());
                socket.send_to(&[&b"re:"[..], &buf[..n]].concat(), from).await.unwrap();
            }
        });
        Self { port, heard, task }
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().clone()
    }
}

/// An association: its connection, and where datagrams are expected.
async fn associate(at: SocketAddr, client: (&str, u16)) -> (TcpStream, SocketAddr) {
    let mut c = connect_from(HERE, at).await;
    let asked = socks::request(UDP_ASSOCIATE, client.0, client.1);
    let reply = socks::ask(&mut c, ("demo", PASSWORD), &asked).await;
    (c, bound(&reply))
}

async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buf = vec![0; 64 << 10];
    let (n, _) = timeout(PATIENCE, socket.recv_from(&mut buf)).await.expect("no datagram came").unwrap();
    buf.truncate(n);
    buf
}

/// A world with a port that leads straight to targets; `echo.test` is on loopback.
async fn world() -> (World, SocketAddr, Echo) {
    world_of(1 << 20).await
}

async fn world_of(quota: u64) -> (World, SocketAddr, Echo) {
    let mut w = World::new(quota, limits()).await;
    let door = direct(&mut w);
    w.config.target_allow = vec!["127.0.0.1/32".parse().unwrap()];
    w.resolver.set("echo.test", [HERE]);
    (w, door, Echo::start().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_go_to_their_targets_and_answers_come_back_counted() {
    let (w, door, echo) = world().await;
    let edge = w.start().await;
    let (c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let me = socket().await;
    let (mut up, mut down) = (0, 0);
    for size in [1_usize, 33, 512, 1400, 9000] {
        let payload = vec![u8::try_from(size % 251).unwrap(); size];
        me.send_to(&datagram("echo.test", echo.port, &payload), relay).await.unwrap();
        // The answer says where it comes from: an address, for that is what the edge saw.
        let answer = [&b"re:"[..], payload.as_slice()].concat();
        assert_eq!(receive(&me).await, datagram("127.0.0.1", echo.port, &answer));
        (up, down) = (up + payload.len() as u64, down + answer.len() as u64);
    }
    assert_eq!(w.resolver.asked("echo.test"), 1);
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (up, down, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_others_are_not_looked_at() {
    let (w, door, echo) = world().await;
    let edge = w.start().await;
    let (_c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let (me, other) = (socket().await, socket().await);
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let to = |payload: &[u8]| datagram("echo.test", echo.port, payload);
    // Another address is nobody's client; the first port of the client's address is its own.
    stranger.send_to(&to(b"stranger"), relay).await.unwrap();
    me.send_to(&to(b"first"), relay).await.unwrap();
    assert!(receive(&me).await.ends_with(b"re:first"));
    other.send_to(&to(b"other"), relay).await.unwrap();
    me.send_to(&to(b"second"), relay).await.unwrap();
    assert!(receive(&me).await.ends_with(b"re:second"));
    assert_eq!(echo.heard(), [b"first".to_vec(), b"second".to_vec()]);

    // A client that says where it sends from is held to it from the first datagram on.
    let (_c, relay) = associate(door, ("127.0.0.1", me.local_addr().unwrap().port())).await;
    other.send_to(&to(b"other"), relay).await.unwrap();
    me.send_to(&to(b"third"), relay).await.unwrap();
    assert!(receive(&me).await.ends_with(b"re:third"));
    assert_eq!(echo.heard().len(), 3);
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_sent_is_dropped_without_a_word() {
    let (w, door, echo) = world().await;
    w.resolver.set("evil.test", [[127, 0, 0, 3]]);
    w.resolver.set("cloud.test", [[169, 254, 169, 254]]);
    let canary = UdpSocket::bind(("127.0.0.3", echo.port)).await.unwrap();
    let edge = w.start().await;
    let (_c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let me = socket().await;
    let good = datagram("echo.test", echo.port, b"good");
    let fragment = [&[0, 0, 1][..], &good[3..]].concat();
    let reserved = [&[0, 1, 0][..], &good[3..]].concat();
    for bad in [
        datagram("evil.test", echo.port, b"bad"),
        datagram("cloud.test", 80, b"bad"),
        datagram("10.0.0.1", 53, b"bad"),
        datagram("localhost", echo.port, b"bad"),
        datagram("echo.test", 25, b"bad"),
        datagram("echo.test", 0, b"bad"),
        datagram("nowhere.test", 53, b"bad"),
        fragment,
        reserved,
        good[..7].to_vec(),
        Vec::new(),
        b"nonsense".to_vec(),
    ] {
        me.send_to(&bad, relay).await.unwrap();
    }
    me.send_to(&good, relay).await.unwrap();
    assert!(receive(&me).await.ends_with(b"re:good"));
    assert_eq!(echo.heard(), [b"good".to_vec()]);
    assert!(canary.try_recv_from(&mut [0; 16]).is_err());
    edge.drain(Duration::from_millis(100)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (4, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socks5_upstream_relays_them() {
    let gateway = SocksUpstream::start().await;
    let at = gateway.addr;
    let change = |p: &mut Provider| (p.protocol, p.gateway_port) = (Scheme::Socks5, at.port());
    let w = World::with_provider(1 << 20, limits(), change).await;
    let edge = w.start().await;
    let (c, relay) = associate(edge.gateway_addr(), ("0.0.0.0", 0)).await;
    let me = socket().await;
    for target in ["far.test", "198.41.0.4"] {
        // The name goes on unresolved, and the answer comes back as the relay framed it.
        let sent = datagram(target, 53, b"question");
        me.send_to(&sent, relay).await.unwrap();
        assert_eq!(receive(&me).await, sent);
    }
    assert_eq!(w.resolver.asked("far.test"), 0);
    let seen = gateway.seen();
    assert_eq!((seen.len(), seen[0].command, seen[0].password.as_str()), (1, UDP_ASSOCIATE, "zone-password"));
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (16, 16, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_upstream_carries_none() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = connect_from(HERE, edge.gateway_addr()).await;
    let asked = socks::request(UDP_ASSOCIATE, "0.0.0.0", 0);
    assert_eq!(socks::ask(&mut c, ("demo", PASSWORD), &asked).await, socks::refused(7));
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert_eq!(w.rows().await.connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_ends_with_its_connection() {
    let (w, door, echo) = world().await;
    let edge = w.start().await;
    let (mut c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let me = socket().await;
    me.send_to(&datagram("echo.test", echo.port, b"one"), relay).await.unwrap();
    receive(&me).await;
    // What is said on the connection means nothing.
    c.write_all(b"anything").await.unwrap();
    me.send_to(&datagram("echo.test", echo.port, b"two"), relay).await.unwrap();
    receive(&me).await;
    assert_eq!(edge.snapshot().open_tunnels, 1);
    drop(c);
    eventually("the association ends", || async { edge.snapshot().open_tunnels == 0 }).await;
    // Its port is nobody's now.
    let _ = me.send_to(&datagram("echo.test", echo.port, b"three"), relay).await;
    let (_c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let again = socket().await;
    again.send_to(&datagram("echo.test", echo.port, b"four"), relay).await.unwrap();
    receive(&again).await;
    assert_eq!(echo.heard(), [b"one".to_vec(), b"two".to_vec(), b"four".to_vec()]);
    edge.drain(Duration::ZERO).await.unwrap();
    assert_eq!(w.rows().await.ingress, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_that_carries_nothing_ends() {
    let (mut w, door, _echo) = world().await;
    w.config.udp.idle = Duration::from_millis(200);
    let edge = w.start().await;
    let (mut c, _) = associate(door, ("0.0.0.0", 0)).await;
    assert!(timeout(PATIENCE, read_all(&mut c)).await.expect("it goes on").is_empty());
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_ends_associations_too() {
    let (w, door, _echo) = world().await;
    let edge = w.start().await;
    let (mut c, _) = associate(door, ("0.0.0.0", 0)).await;
    w.ban().await;
    assert!(timeout(PATIENCE, read_all(&mut c)).await.expect("it goes on").is_empty());
    edge.drain(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_may_be_of_the_other_family() {
    let Ok(echo) = UdpSocket::bind("[::1]:0").await else { return };
    let (mut w, door, v4) = world().await;
    let v6 = Echo::on(echo);
    w.config.target_allow.push("::1/128".parse().unwrap());
    let here = "::1".parse().unwrap();
    w.resolver.answer("six.test", vec![here]);
    w.resolver.answer("both.test", vec![here, HERE.into()]);
    let edge = w.start().await;
    let (c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let me = socket().await;
    for (target, port, from) in [
        ("::1", v6.port, "::1"),
        ("six.test", v6.port, "::1"),
        // Nothing would tell that IPv6 leads nowhere.
        ("both.test", v4.port, "127.0.0.1"),
        ("127.0.0.1", v4.port, "127.0.0.1"),
        // An address in the other family's form is what it is.
        ("::ffff:127.0.0.1", v4.port, "127.0.0.1"),
    ] {
        me.send_to(&datagram(target, port, b"ping"), relay).await.unwrap();
        assert_eq!(receive(&me).await, datagram(from, port, b"re:ping"), "{target}");
    }
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (20, 35));
}

/// What the access log says of the association that has ended.
fn logged(w: &World) -> serde_json::Value {
    let log = std::fs::read_to_string(w.config.access_log.path.as_ref().unwrap()).unwrap();
    serde_json::from_str(log.lines().find(|l| l.contains("\"kind\":\"udp\"")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_beyond_the_quota_ends_the_association_and_is_not_cut() {
    let (mut w, door, echo) = world_of(1000).await;
    w.config.access_log.path = Some(w.dir.path().join("access.log"));
    let edge = w.start().await;
    let (mut c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let me = socket().await;
    let sent = datagram("echo.test", echo.port, &[b'x'; 300]);
    me.send_to(&sent, relay).await.unwrap();
    receive(&me).await;
    assert_eq!(edge.snapshot().open_tunnels, 1);
    // 397 are left: it goes, and its answer of 303 finds 97.
    me.send_to(&sent, relay).await.unwrap();
    assert!(timeout(PATIENCE, read_all(&mut c)).await.expect("it goes on").is_empty());
    assert_eq!(echo.heard().len(), 2);
    assert!(me.try_recv_from(&mut [0; 16]).is_err(), "not even a part of it arrives");
    let refused = edge.snapshot().refusals;
    assert!(refused.iter().any(|(code, n)| *code == Code::QuotaExhausted && *n > 0), "{refused:?}");
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let record = logged(&w);
    assert_eq!(
        (&record["reason"], &record["ingress_bytes"], &record["egress_bytes"]),
        (&"quota".into(), &600.into(), &303.into())
    );
    assert_eq!((w.rows().await.bytes(), w.allowance(&plan_bucket()).await.folded), (903, 903));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_that_a_bucket_has_no_room_for_goes_on_the_next_whole() {
    let (w, door, echo) = world_of(1000).await;
    let pack = Bucket::Pack { expires: NOON.next_month_start(), pack: "p1".into() };
    w.grant("pack", &pack, 1 << 20).await;
    let edge = w.start().await;
    let (c, relay) = associate(door, ("0.0.0.0", 0)).await;
    let me = socket().await;
    for _ in 0..4 {
        me.send_to(&datagram("echo.test", echo.port, &[b'x'; 300]), relay).await.unwrap();
        assert!(receive(&me).await.ends_with(&[b'x'; 300]));
    }
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    // Three of them fit into the plan: 300, 303, 300. What is left of it is too little for the fourth.
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 903);
    assert_eq!(w.allowance(&pack).await.folded, 303 + 2 * 603);
    assert_eq!(w.rows().await.bytes(), 4 * 603);
}
