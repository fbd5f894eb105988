//! Clients that take their time, by the thousand, while another customer works.

use std::iter::{once, repeat};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_domain::plan::Limits;
use tollgate_edge::Edge;

use crate::support::client::{ask, request};
use crate::support::descriptors::as_many_as_allowed;
use crate::support::metrics::metric;
use crate::support::socks::{self, CONNECT, SUCCEEDED};
use crate::support::tls::Identity;
use crate::support::world::{PASSWORD, limits};
use crate::support::{World, basic, connect, read_n, status, within};

/// Slow clients at a time, where descriptors allow.
const CROWD: usize = 5000;
/// Descriptors per slow client: both ends are in this process, and some have an upstream.
const EACH: usize = 3;
/// Descriptors of all the rest.
const REST: usize = 800;
/// What the edge waits for a head, a handshake, or a byte of a tunnel.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two signs of life of a slow client.
const PACE: Duration = Duration::from_secs(4);
/// Slow clients that connect at the same moment.
const AT_ONCE: usize = 64;
/// Longest wait for what must succeed: the machine may stand still.
const BOUND: Duration = Duration::from_secs(30);
const ROUNDS: usize = 25;
const TUNNELS: usize = 8;

/// Whose connections begin with a PROXY header.
const BALANCER: [u8; 4] = [127, 1, 0, 1];

#[derive(Clone, Copy)]
enum Slow {
    /// Half a head, a byte at a time.
    Bytewise,
    /// A head that has no end.
    Endless,
    /// A head whose body does not come.
    NoBody,
    /// A tunnel that sends without end to who never reads.
    NoReader,
    /// Half of SOCKS5's greeting or credentials.
    Socks,
    /// Half a ClientHello.
    Tls,
    /// Half a PROXY header.
    Proxy,
}

impl Slow {
    fn of(n: usize) -> Self {
        // Each that reads nothing fills some megabytes of the system's buffers.
        if n.is_multiple_of(100) {
            return Self::NoReader;
        }
        match n % 20 {
            0..=2 => Self::NoBody,
            3..=7 => Self::Bytewise,
            8..=10 => Self::Endless,
            11..=13 => Self::Socks,
            14..=16 => Self::Tls,
            _ => Self::Proxy,
        }
    }

    /// So many that no source has more strangers than one may have.
    fn source(self, n: usize) -> [u8; 4] {
        match self {
            Self::Proxy => BALANCER,
            _ => [127, 0, 0, 10 + u8::try_from(n % 8).unwrap()],
        }
    }
}

/// All slow clients. One that the edge ends comes again, until it is over.
struct Crowd {
    at: SocketAddr,
    over: AtomicBool,
    gate: Semaphore,
}

impl Crowd {
    async fn member(self: Arc<Self>, n: usize) {
        let slow = Slow::of(n);
        while !self.over.load(Ordering::Acquire) {
            let permit = self.gate.acquire().await.unwrap();
            let connected = self.dial(slow, n).await;
            drop(permit);
            let Ok(stream) = connected else { continue };
            match slow {
                Slow::NoReader => self.never_read(stream).await,
                _ => drip(stream, slow, n).await,
            }
        }
    }

    async fn dial(&self, slow: Slow, n: usize) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if matches!(slow, Slow::NoReader) {
            socket.set_recv_buffer_size(4096)?;
        }
        socket.bind((Ipv4Addr::from(slow.source(n)), 0).into())?;
        socket.connect(self.at).await
    }

    /// Stays longer than the edge bears it, and to the last once it is over.
    async fn never_read(&self, mut stream: TcpStream) {
        let auth = basic("demo", PASSWORD);
        let asked = format!("CONNECT flood.test:1 HTTP/1.1\r\nProxy-Authorization: {auth}\r\n\r\n");
        if stream.write_all(asked.as_bytes()).await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(2 * PATIENCE).await;
            if !self.over.load(Ordering::Acquire) {
                return;
            }
        }
    }
}

/// Says its pieces slowly, and stays until the edge has enough of it.
async fn drip(mut stream: TcpStream, slow: Slow, n: usize) {
    const HEAD: &[u8] = b"GET http://origin.test/x HTTP/1.1\r\nHost: origin.test\r\n";
    let post = request("POST", "http://origin.test/x", "Content-Length: 1000\r\n");
    // A record of 512 bytes that is a ClientHello of 508, as far as it goes.
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"[..], &[7; 200]].concat();
    let silence: &[u8] = b"";
    let say: Box<dyn Iterator<Item = &[u8]> + Send> = match slow {
        Slow::Bytewise => Box::new(HEAD.chunks(1).chain(repeat(&b"X"[..]))),
        Slow::Endless => Box::new(once(HEAD).chain(repeat(&b"X-More: and more\r\n"[..]))),
        Slow::NoBody => Box::new(once(post.as_bytes()).chain(repeat(silence))),
        Slow::Socks if n.is_multiple_of(2) => Box::new(once(&b"\x05\x02\x00"[..]).chain(repeat(silence))),
        Slow::Socks => Box::new(once(&b"\x05\x01\x02\x01\x04de"[..]).chain(repeat(silence))),
        Slow::Tls => Box::new(once(hello.as_slice()).chain(repeat(silence))),
        Slow::Proxy => Box::new(once(&b"PROXY TCP4 192.0.2.7 192.0"[..]).chain(repeat(silence))),
        Slow::NoReader => return,
    };
    for piece in say {
        if stream.write_all(piece).await.is_err() || timeout(PACE, ended(&mut stream)).await.is_ok() {
            return;
        }
    }
}

/// Reads away what comes, up to the end.
async fn ended(stream: &mut TcpStream) {
    let mut away = [0; 1024];
    while matches!(stream.read(&mut away).await, Ok(1..)) {}
}

/// A tunnel of the customer who works, and a small echo through it; how long that took.
async fn works(at: SocketAddr, n: usize) -> Duration {
    let began = Instant::now();
    let all = async {
        let mut c = if n.is_multiple_of(2) {
            let (c, head) = connect(at, "echo.test:443", "other", PASSWORD).await;
            assert_eq!(status(&head), 200, "{head}");
            c
        } else {
            let mut c = TcpStream::connect(at).await.unwrap();
            let asked = socks::request(CONNECT, "echo.test", 443);
            assert_eq!(socks::ask(&mut c, ("other", PASSWORD), &asked).await, SUCCEEDED);
            c
        };
        echoes(&mut c, n).await;
    };
    timeout(BOUND, all).await.expect("another customer waits");
    began.elapsed()
}

async fn echoes(c: &mut TcpStream, n: usize) {
    let sent: Vec<u8> = (0..1000).map(|i| u8::try_from((n + i) % 251).unwrap()).collect();
    c.write_all(&sent).await.unwrap();
    assert!(read_n(c, sent.len()).await == sent);
}

async fn start() -> (World, Edge) {
    let mut w = World::new(1 << 40, Limits { threads: 4000, ..limits() }).await;
    w.another("other", 1 << 30, Limits { threads: 100, ..limits() }).await;
    w.config.tls = Some(Identity::write(w.dir.path(), "edge").files());
    // Certificates lie beside the data folder, not in it.
    w.config.data_dir = w.dir.path().join("data");
    w.config.proxy_trusted = vec!["127.1.0.0/16".parse().unwrap()];
    w.config.header_timeout = PATIENCE;
    w.config.handshake_timeout = PATIENCE;
    w.config.idle_timeout = PATIENCE;
    let edge = w.start().await;
    (w, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_slow_clients_cost_another_customer_nothing_and_all_end() {
    let allowed = as_many_as_allowed();
    let size = CROWD.min(allowed.saturating_sub(REST) / EACH);
    assert!(size >= 200, "{allowed} descriptors are too few for a crowd");
    println!("{size} slow clients ({allowed} descriptors)");
    let (_w, edge) = start().await;
    let at = edge.gateway_addr();
    let crowd = Arc::new(Crowd { at, over: AtomicBool::new(false), gate: Semaphore::new(AT_ONCE) });
    let mut members = JoinSet::new();
    for n in 0..size {
        members.spawn(Arc::clone(&crowd).member(n));
    }
    let open = || edge.snapshot().open_connections;
    let nearly_all = (size * 8 / 10) as u64;
    within(2 * BOUND, "the crowd stands", || async { open() >= nearly_all }).await;

    let (mut long, mut slowest, mut fewest) = (TcpStream::connect(at).await.unwrap(), Duration::ZERO, u64::MAX);
    assert_eq!(status(&ask(&mut long, "echo.test:443", "other", PASSWORD).await), 200);
    for round in 0..ROUNDS {
        let mut tunnels = JoinSet::new();
        for n in 0..TUNNELS {
            tunnels.spawn(works(at, round * TUNNELS + n));
        }
        while let Some(took) = tunnels.join_next().await {
            slowest = slowest.max(took.unwrap());
        }
        timeout(BOUND, echoes(&mut long, round)).await.expect("another customer's tunnel stands still");
        fewest = fewest.min(open());
    }
    println!("{} tunnels beside at least {fewest} slow clients, the slowest in {slowest:?}", ROUNDS * TUNNELS);
    assert!(fewest >= size as u64 / 2, "{fewest} of {size} stand");
    drop(long);

    // Nobody of the crowd hangs up: it is the edge that does.
    crowd.over.store(true, Ordering::Release);
    within(2 * BOUND, "the slow ones end", || async { open() == 0 }).await;
    assert_eq!(metric(edge.admin_addr(), "unauthenticated_connections").await, 0);
    assert_eq!(metric(edge.admin_addr(), "accept_failures_total").await, 0);
    assert_eq!(metric(edge.admin_addr(), "refusals_total{code=\"IP_LIMIT\"}").await, 0);
    edge.drain(BOUND).await.unwrap();
    drop(members);
}
