//! What the program holds for a connection that has not authenticated.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::program::Around;
use crate::support::descriptors::as_many_as_allowed;
use crate::support::metrics::metric;
use crate::support::tls::Identity;
use crate::support::world::limits;
use crate::support::{World, eventually, read_n, socks};

const CONNECTIONS: usize = 2000;
/// Those that come first and go again: what is made once is made then.
const WARM: usize = 20;
/// Of one source, which may have 1,024.
const OF_ONE: usize = 500;
/// See [`Running::settled`].
const PAGES: usize = 64 << 10;
/// Per connection.
const MOST_BYTES: usize = 64 << 10;

/// Killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Resident memory in bytes.
    fn resident(&self) -> usize {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id())).unwrap();
        let line = rollup.lines().find_map(|l| l.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// Resident memory once it has not changed for a while: all that was sent is read. What the
    /// program does besides takes a few pages.
    async fn settled(&self) -> usize {
        let (mut last, mut same) = (self.resident(), 0);
        while same < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.resident();
            same = if now.abs_diff(last) < PAGES { same + 1 } else { 0 };
            last = now;
        }
        last
    }
}

/// How far a connection gets.
struct Half {
    name: &'static str,
    bytes: Vec<u8>,
    /// Bytes of the edge's answer.
    answered: usize,
}

/// The costliest that each protocol allows without an end.
fn halves() -> [Half; 4] {
    let half = |name, bytes, answered| Half { name, bytes, answered };
    let credentials = [&socks::GREETING[..], &[1, 255], &[b'u'; 255], &[255], &[b'p'; 254]].concat();
    // The largest record, all but its last byte, of a message that is larger.
    let hello = [&b"\x16\x03\x01\x38\x00\x01\x00\x40\x00\x03\x03"[..], &vec![7; 14_000]].concat();
    let head = b"GET http://origin.test/ HTTP/1.1\r\nX: ".to_vec();
    let long = [&head[..], &vec![b'x'; 32_700 - head.len()]].concat();
    [
        half("half a greeting", socks::GREETING[..2].to_vec(), 0),
        half("SOCKS credentials but for a byte", credentials, 2),
        half("half a TLS hello", hello, 0),
        half("a head of 32 KiB without its end", long, 0),
    ]
}

/// Connects `n` times, and says its half each time.
async fn stand(at: SocketAddr, half: &Half, n: usize) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for n in 0..n {
        let socket = TcpSocket::new_v4().unwrap();
        let [source, ..] = (10 + n / OF_ONE).to_le_bytes();
        socket.bind((Ipv4Addr::new(127, 0, 0, source), 0).into()).unwrap();
        let mut stream = socket.connect(at).await.unwrap();
        stream.write_all(&half.bytes).await.unwrap();
        read_n(&mut stream, half.answered).await;
        all.push(stream);
    }
    all
}

/// What the program, started anew, holds for each of `n` connections that get this far: an earlier
/// crowd would leave it memory that a later one uses again.
async fn cost(w: &World, tls: &Identity, half: &Half, n: usize) -> usize {
    let around = Around::start(w).await;
    let mut program = around.program(w);
    program.env("TOLLGATE_EDGE_TLS_CERTIFICATE", &tls.certificate).env("TOLLGATE_EDGE_TLS_KEY", &tls.key);
    // Nobody is ended while it is measured.
    program.env("TOLLGATE_EDGE_HANDSHAKE_S", "600").env("TOLLGATE_EDGE_HEADER_S", "600");
    let edge = Running(program.spawn().unwrap());
    let (at, admin) = (around.gateway, around.admin);
    eventually("it listens", || async { TcpStream::connect(at).await.is_ok() }).await;
    let open = async |n: usize| {
        let what = format!("{n} connections stand");
        eventually(&what, || async { metric(admin, "unauthenticated_connections").await == n as u64 }).await;
    };
    drop(stand(at, half, WARM).await);
    open(0).await;
    let before = edge.settled().await;
    let standing = stand(at, half, n).await;
    open(n).await;
    let grown = edge.settled().await.saturating_sub(before);
    drop(standing);
    grown / n
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_not_authenticated_costs_at_most_64_kib() {
    let n = CONNECTIONS.min(as_many_as_allowed().saturating_sub(300));
    let w = World::new(0, limits()).await;
    let files = TempDir::new().unwrap();
    let tls = Identity::write(files.path(), "edge");
    for half in halves() {
        let bytes = cost(&w, &tls, &half, n).await;
        println!("{}: {bytes} bytes a connection ({n} connections)", half.name);
        assert!(bytes <= MOST_BYTES, "{}: {bytes} bytes", half.name);
        assert!(bytes > 1000, "{}: {bytes} bytes are not what it costs", half.name);
    }
}
