//! A tunnel, and what its client counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

const BLOCK: usize = 64 << 10;
const PING: &[u8] = b"ping";

/// What the client counted of its tunnel.
#[derive(Clone, Debug, Serialize)]
pub struct Counted {
    pub customer: String,
    pub tunnel: String,
    /// Which life of which edge carried it.
    pub life: String,
    /// Bytes that the system took of what was sent.
    pub sent: u64,
    pub received: u64,
    /// The client saw the other side's end, and had sent all it wanted: these bytes moved, and no
    /// others.
    pub whole: bool,
}

/// See the module.
pub struct Tunnel {
    stream: TcpStream,
    /// Bytes that clients sent and received, of all tunnels.
    moved: Arc<AtomicU64>,
    counted: Counted,
}

impl Tunnel {
    /// A tunnel through which nothing has moved yet.
    pub fn new(stream: TcpStream, moved: Arc<AtomicU64>, counted: Counted) -> Self {
        Self { stream, moved, counted }
    }

    /// A few bytes there and back: it is alive.
    pub async fn ping(&mut self) {
        self.stream.write_all(PING).await.unwrap();
        let mut back = vec![0; PING.len()];
        self.stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, PING);
        self.counted.sent += PING.len() as u64;
        self.counted.received += PING.len() as u64;
        self.moved.fetch_add(2 * PING.len() as u64, Ordering::Relaxed);
    }

    /// Closes it while nothing is under way.
    pub fn close(mut self) -> Counted {
        self.counted.whole = true;
        self.counted
    }

    /// Receives to the end of the other side.
    pub async fn download(mut self) -> Counted {
        self.receive(u64::MAX).await;
        self.counted
    }

    /// Sends for as long as somebody takes it.
    pub async fn upload(mut self) -> Counted {
        self.counted.sent += pour(&mut self.stream, u64::MAX, &self.moved).await;
        self.counted
    }

    /// Sends so many bytes, says its end, and receives to the other's, at the same time.
    pub async fn exchange(self, bytes: u64) -> Counted {
        let Self { mut stream, moved, mut counted } = self;
        let (mut from, mut to) = stream.split();
        let sending = async {
            let sent = pour(&mut to, bytes, &moved).await;
            let _ = to.shutdown().await;
            sent
        };
        let (sent, (received, ended)) = tokio::join!(sending, drink(&mut from, u64::MAX, &moved));
        counted.sent += sent;
        counted.received += received;
        counted.whole = ended && sent == bytes;
        counted
    }

    /// Receives to the other's end, and only then sends so many bytes and says its own.
    pub async fn answer(mut self, bytes: u64) -> Counted {
        self.receive(u64::MAX).await;
        let sent = pour(&mut self.stream, bytes, &self.moved).await;
        let _ = self.stream.shutdown().await;
        self.counted.sent += sent;
        self.counted.whole &= sent == bytes;
        self.counted
    }

    /// Resets the connection once it has received so many bytes.
    pub async fn download_and_reset(mut self, bytes: u64) -> Counted {
        self.receive(bytes).await;
        self.reset()
    }

    /// Resets the connection once it has sent so many bytes.
    pub async fn upload_and_reset(mut self, bytes: u64) -> Counted {
        self.counted.sent += pour(&mut self.stream, bytes, &self.moved).await;
        self.reset()
    }

    fn reset(self) -> Counted {
        self.stream.set_zero_linger().unwrap();
        self.counted
    }

    async fn receive(&mut self, bytes: u64) {
        let (received, ended) = drink(&mut self.stream, bytes, &self.moved).await;
        self.counted.received += received;
        self.counted.whole = ended;
    }
}

/// How much of a block belongs to what is left.
fn part(left: u64) -> usize {
    usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK))
}

/// Sends so many bytes, or what is taken of them; how many that was.
async fn pour(to: &mut (impl AsyncWrite + Unpin), bytes: u64, moved: &AtomicU64) -> u64 {
    let block = vec![b'c'; BLOCK];
    let mut sent = 0;
    while sent < bytes {
        match to.write(&block[..part(bytes - sent)]).await {
            Ok(n @ 1..) => {
                sent += n as u64;
                moved.fetch_add(n as u64, Ordering::Relaxed);
            }
            _ => break,
        }
    }
    sent
}

/// Receives so many bytes, or what there is; how many, and whether the other side ended well.
async fn drink(from: &mut (impl AsyncRead + Unpin), bytes: u64, moved: &AtomicU64) -> (u64, bool) {
    let mut buf = vec![0; BLOCK];
    let mut received = 0;
    while received < bytes {
        match from.read(&mut buf[..part(bytes - received)]).await {
            Ok(0) => return (received, true),
            Ok(n) => {
                received += n as u64;
                moved.fetch_add(n as u64, Ordering::Relaxed);
            }
            Err(_) => break,
        }
    }
    (received, false)
}
