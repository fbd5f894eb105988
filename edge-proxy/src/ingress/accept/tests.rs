use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::net::sockopt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

use super::*;
use crate::ingress::entrance::Kind;
use crate::metrics::Metrics;

/// Workers whose service is to tell who serves, then to echo.
struct Hall {
    listeners: Arc<Listeners>,
    seats: Arc<Seats>,
    metrics: Arc<Metrics>,
    stop: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Hall {
    fn new(workers: usize, max: usize) -> Self {
        let listeners = Arc::new(Listeners::new(workers).unwrap());
        let metrics = Arc::new(Metrics::new(workers));
        let seats = Arc::new(Seats::new(workers, max, Arc::clone(&metrics)));
        let mut hall = Self { listeners, seats, metrics, stop: Vec::new(), threads: Vec::new() };
        for worker in 0..workers {
            let (listeners, seats) = (Arc::clone(&hall.listeners), Arc::clone(&hall.seats));
            let (stop, stopped) = oneshot::channel();
            hall.stop.push(stop);
            hall.threads.push(std::thread::spawn(move || {
                let rt = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
                rt.block_on(async {
                    let acceptor = Acceptor::new(&listeners, &seats, worker).unwrap();
                    tokio::task::spawn_local(acceptor.run(move |a, seat| serve(worker, a, seat)));
                    let _ = stopped.await;
                });
            }));
        }
        hall
    }

    fn open(&self, kind: Kind) -> Arc<Entrance> {
        self.listeners.add(TcpListener::bind("127.0.0.1:0").unwrap(), kind, None).unwrap()
    }

    fn failures(&self) -> u64 {
        self.metrics.accept_failures.load(Ordering::Relaxed)
    }
}

impl Drop for Hall {
    fn drop(&mut self) {
        self.stop.clear();
        self.threads.drain(..).for_each(|t| t.join().unwrap());
    }
}

/// Options of the sockets that were accepted.
static OPTIONS: Mutex<Vec<(bool, bool, Duration)>> = Mutex::new(Vec::new());

fn serve(worker: usize, accepted: Accepted, seat: Seat) {
    tokio::task::spawn_local(async move {
        let Accepted { mut stream, peer, entrance } = accepted;
        assert!(peer.ip().is_loopback());
        OPTIONS.lock().unwrap().push((
            sockopt::tcp_nodelay(&stream).unwrap(),
            sockopt::socket_keepalive(&stream).unwrap(),
            sockopt::tcp_keepidle(&stream).unwrap(),
        ));
        let port = if let Kind::Port(n) = entrance.kind { n } else { 0 };
        let hello = [u8::try_from(worker).unwrap(), port.to_be_bytes()[0], port.to_be_bytes()[1]];
        let mut buf = [0; 512];
        let _ = stream.write_all(&hello).await;
        while let Ok(n @ 1..) = stream.read(&mut buf).await {
            let _ = stream.write_all(&buf[..n]).await;
        }
        drop(seat);
    });
}

/// A connection; the worker and the port that serve it.
fn connect(to: SocketAddr) -> (std::net::TcpStream, usize, u16) {
    let mut stream = std::net::TcpStream::connect(to).unwrap();
    let mut hello = [0; 3];
    stream.read_exact(&mut hello).unwrap();
    (stream, hello[0].into(), u16::from_be_bytes([hello[1], hello[2]]))
}

fn echoes(stream: &mut std::net::TcpStream) {
    let mut back = [0; 4];
    stream.write_all(b"ping").unwrap();
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// Descriptors for tests that hold many.
fn many_descriptors(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(wanted);
    if limit.current.is_some_and(|n| n < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted.min(most)), maximum: limit.maximum }).unwrap();
    }
}

#[test]
fn accepted_sockets_inherit_nodelay_and_keepalive() {
    let hall = Hall::new(1, 10);
    let door = hall.open(Kind::Gateway);
    connect(door.local);
    assert_eq!(*OPTIONS.lock().unwrap().last().unwrap(), (true, true, Duration::from_secs(240)));
}

#[test]
fn workers_share_connections_fairly() {
    many_descriptors(2000);
    let hall = Hall::new(2, 1000);
    let door = hall.open(Kind::Gateway);
    let mut served = [0, 0];
    let open: Vec<_> = (0..400)
        .map(|_| {
            let (stream, worker, _) = connect(door.local);
            served[worker] += 1;
            stream
        })
        .collect();
    // The rule alone would give at least 170; a worker that the system does not run gets less.
    assert!(served.iter().all(|n| *n >= 100), "{served:?}");
    assert_eq!((door.open(), hall.seats.load(0) + hall.seats.load(1)), (400, 400));
    drop(open);
    eventually("all seats are free", || door.open() == 0);
}

#[test]
fn listeners_come_and_go_while_others_serve() {
    let hall = Hall::new(2, 100);
    let gateway = hall.open(Kind::Gateway);
    let (mut through_gateway, _, _) = connect(gateway.local);
    let (one, two) = (hall.open(Kind::Port(4000)), hall.open(Kind::Port(4001)));
    let (mut a, _, port_a) = connect(one.local);
    let (mut b, _, port_b) = connect(two.local);
    assert_eq!((port_a, port_b), (4000, 4001));
    assert!(hall.listeners.remove(one.id));
    assert!(!hall.listeners.remove(one.id));
    assert_eq!(std::net::TcpStream::connect(one.local).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    for stream in [&mut through_gateway, &mut a, &mut b, &mut connect(two.local).0] {
        echoes(stream);
    }
    let kinds: Vec<_> = hall.listeners.named().iter().map(|l| l.entrance.kind).collect();
    assert_eq!(kinds, [Kind::Gateway, Kind::Port(4001)]);
    // A socket that was handed over stays open, and is no longer ours to accept from.
    let handed = hall.listeners.named()[1].socket.try_clone().unwrap();
    hall.listeners.close();
    let mut waiting = std::net::TcpStream::connect(two.local).unwrap();
    handed.set_nonblocking(false).unwrap();
    handed.accept().unwrap().0.write_all(b"next").unwrap();
    let mut said = [0; 4];
    waiting.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"next");
    assert!(hall.listeners.add(handed, Kind::Tls, None).is_err());
    echoes(&mut a);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let hall = Hall::new(2, 2);
    let door = hall.open(Kind::Gateway);
    let (first, second) = (connect(door.local), connect(door.local));
    let mut third = std::net::TcpStream::connect(door.local).unwrap();
    assert!(matches!(third.read(&mut [0; 3]), Ok(0) | Err(_)));
    assert_eq!(hall.metrics.connections_over_limit.load(Ordering::Relaxed), 1);
    drop(first);
    eventually("the seat is free", || door.open() == 1);
    echoes(&mut connect(door.local).0);
    drop(second);
}

/// An address of the loopback network that other tests do not use.
fn own_address() -> IpAddr {
    let [.., a, b] = std::process::id().to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 64 | (a >> 2), b, 64 | (a & 3)))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_thousand_listeners_are_cheap_and_all_accept() {
    many_descriptors(4000);
    let hall = Hall::new(2, 5000);
    hall.open(Kind::Gateway);
    let before = resident_kib();
    let doors: Vec<_> = (4000..5000)
        .map(|port| {
            let socket = TcpListener::bind((own_address(), port)).unwrap();
            hall.listeners.add(socket, Kind::Port(port), None).unwrap()
        })
        .collect();
    let grown = resident_kib().saturating_sub(before);
    println!("1,000 listeners: {grown} KiB resident");
    assert!(grown < 2048, "{grown} KiB");
    let open: Vec<_> = doors
        .iter()
        .map(|door| {
            let (stream, _, port) = connect(door.local);
            assert_eq!(Kind::Port(port), door.kind);
            stream
        })
        .collect();
    assert!(doors.iter().all(|d| d.open() == 1));
    drop(open);
}

#[test]
fn a_listener_survives_a_lack_of_descriptors() {
    const CHILD: &str = "TOLLGATE_TEST_STARVED";
    if std::env::var_os(CHILD).is_none() {
        // Limits are a process's own.
        let name = "ingress::accept::tests::a_listener_survives_a_lack_of_descriptors";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let out = child.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&out.stderr));
        return;
    }
    let hall = Hall::new(2, 100);
    let door = hall.open(Kind::Gateway);
    let (mut before, _, _) = connect(door.local);
    // Sockets of clients that connect later need their descriptors now.
    let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let clients: Vec<_> = (0..16).map(|_| socket()).collect();
    let limit = Rlimit { current: Some(256), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hogs = Vec::new();
    while let Some(hog) = spare() {
        assert!(hog.as_raw_fd() < 256);
        hogs.push(hog);
    }
    let mut clients = clients.into_iter().map(|c| {
        c.connect(&door.local.into()).unwrap();
        std::net::TcpStream::from(c)
    });
    // A descriptor that a thread gave back only now serves one more.
    let mut late = Vec::new();
    for n in 1..=10 {
        // Closed, not left to wait.
        let client = loop {
            let mut client = clients.next().unwrap();
            match client.read(&mut [0; 3]) {
                Ok(0) | Err(_) => break client,
                Ok(_) => late.push(client),
            }
            assert!(late.len() <= 2, "descriptors are not scarce");
        };
        assert!(hall.failures() >= n);
        // Its descriptor is taken at once.
        drop(client);
        hogs.extend(spare());
    }
    echoes(&mut before);
    hogs.clear();
    let mut after = clients.next().unwrap();
    after.read_exact(&mut [0; 3]).unwrap();
    echoes(&mut after);
}
