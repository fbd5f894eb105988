//! Moving bytes between two sockets: no buffer is held while nothing flows, both directions may
//! end apart, and every byte at the customer's side passes the meter.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::journal::Direction;
use crate::ledger::Dry;
use crate::meter::{Meter, Stop};
use crate::tunnel::{CloseReason, Tunnel};

/// Bytes of the buffer that all tunnels of a thread share.
pub(crate) const BUFFER: usize = 64 << 10;
/// Rounds after which a busy tunnel lets the others run.
const TURN: u32 = 16;

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Lends the thread's buffer. Never across an await: `use_it` is not async.
pub(crate) fn with_buffer<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SHARED.with_borrow_mut(|b| use_it(b))
}

pub(crate) fn would_block(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Appends what is there to `buf`; 0 at the end of the stream.
pub(crate) async fn read_some(stream: &TcpStream, buf: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        let read = with_buffer(|shared| {
            let n = stream.try_read(&mut shared[..16 << 10])?;
            buf.extend_from_slice(&shared[..n]);
            Ok(n)
        });
        match read {
            Err(e) if would_block(&e) => {}
            other => return other,
        }
    }
}

/// Writes all, unmetered.
pub(crate) async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if would_block(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Says that nothing more will come.
pub(crate) fn finish(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Ends a connection so that what was written arrives: says the end, then reads away, for a
/// moment, what the client still sends. Closing with unread bytes would reset the connection.
pub(crate) async fn linger_close(stream: TcpStream, patience: Duration) {
    finish(&stream);
    let _ = tokio::time::timeout(patience, async {
        let mut left = 1usize << 20;
        while left > 0 && stream.readable().await.is_ok() {
            match with_buffer(|b| stream.try_read(b)) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(e) if would_block(&e) => {}
                Err(_) => return,
            }
        }
    })
    .await;
}

impl From<Stop> for CloseReason {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Dry(Dry::Quota) => Self::Quota,
            Stop::Dry(Dry::Store) | Stop::Full => Self::Store,
        }
    }
}

/// One customer's side of a stream: what passes here is counted.
pub(crate) struct Metered<'a> {
    pub client: &'a TcpStream,
    pub meter: &'a Meter,
    pub last: Cell<Instant>,
}

impl<'a> Metered<'a> {
    pub fn new(client: &'a TcpStream, meter: &'a Meter) -> Self {
        Self { client, meter, last: Cell::new(Instant::now()) }
    }

    fn touch(&self) {
        self.last.set(Instant::now());
    }

    /// Sends all of `bytes` to the customer.
    pub async fn send(&self, mut bytes: &[u8]) -> Result<(), CloseReason> {
        while !bytes.is_empty() {
            self.client.writable().await.map_err(|_| CloseReason::Client)?;
            match self.try_send(bytes)? {
                Sent::Some(n) => bytes = &bytes[n..],
                Sent::Blocked => {}
                Sent::Dry => self.meter.ready().await?,
            }
        }
        Ok(())
    }

    fn try_send(&self, bytes: &[u8]) -> Result<Sent, CloseReason> {
        let operated =
            self.meter.operate(Direction::Egress, bytes.len(), |g| self.client.try_write(&bytes[..g.min(bytes.len())]));
        match operated {
            None => Ok(Sent::Dry),
            Some(Ok(0)) => Err(CloseReason::Client),
            Some(Ok(n)) => {
                self.touch();
                Ok(Sent::Some(n))
            }
            Some(Err(e)) if would_block(&e) => Ok(Sent::Blocked),
            Some(Err(_)) => Err(CloseReason::Client),
        }
    }

    /// Reads what the customer sent, at most `limit` bytes, and hands it to `take` within the
    /// thread's buffer. 0 = the customer's end.
    pub async fn receive<T>(&self, limit: usize, take: impl Fn(&[u8]) -> T) -> Result<Option<T>, CloseReason> {
        loop {
            self.client.readable().await.map_err(|_| CloseReason::Client)?;
            let got = with_buffer(|buf| {
                let want = limit.min(buf.len());
                let read =
                    self.meter.operate(Direction::Ingress, want, |g| self.client.try_read(&mut buf[..g.min(want)]))?;
                Some(read.map(|n| (n, (n > 0).then(|| take(&buf[..n])))))
            });
            match got {
                None => self.dry().await?,
                Some(Ok((0, _))) => return Ok(None),
                Some(Ok((_, taken))) => {
                    self.touch();
                    return Ok(taken);
                }
                Some(Err(e)) if would_block(&e) => {}
                Some(Err(_)) => return Err(CloseReason::Client),
            }
        }
    }

    /// The lease has run dry and the customer's side is readable: bytes, or only its end?
    async fn dry(&self) -> Result<(), CloseReason> {
        match self.meter.ready().await {
            Ok(()) => Ok(()),
            // One byte is read away if it is no end; the tunnel is over then.
            Err(stop) => match self.client.peek(&mut [0]).await {
                Ok(0) => Err(CloseReason::Finished),
                _ => Err(stop.into()),
            },
        }
    }
}

enum Sent {
    Some(usize),
    Blocked,
    Dry,
}

/// What each side sent before the relay began.
#[derive(Debug, Default)]
pub(crate) struct Early {
    pub client: Vec<u8>,
    pub upstream: Vec<u8>,
}

/// Relays until both sides have finished, one breaks, or the tunnel is ended.
pub(crate) async fn run(
    client: &TcpStream,
    upstream: &TcpStream,
    early: Early,
    meter: &Meter,
    tunnel: &Tunnel,
    idle: Duration,
) -> CloseReason {
    let side = Metered::new(client, meter);
    let both = async { tokio::try_join!(up(&side, upstream, early.client), down(&side, upstream, early.upstream)) };
    tokio::select! {
        biased;
        reason = tunnel.killed() => reason,
        ended = both => ended.err().unwrap_or(CloseReason::Finished),
        () = idle_for(&side, idle) => CloseReason::Idle,
    }
}

/// Waits until nothing has moved for `idle`.
pub(crate) async fn idle_for(side: &Metered<'_>, idle: Duration) {
    loop {
        let end = side.last.get() + idle;
        tokio::time::sleep_until(end.into()).await;
        if side.last.get() + idle <= Instant::now() {
            return;
        }
    }
}

async fn up(side: &Metered<'_>, upstream: &TcpStream, early: Vec<u8>) -> Result<(), CloseReason> {
    let mut rest = early.as_slice();
    while !rest.is_empty() {
        side.meter.ready().await?;
        if let Some(Ok(n)) = side.meter.operate(Direction::Ingress, rest.len(), |g| Ok(g.min(rest.len()))) {
            write_all(upstream, &rest[..n]).await.map_err(|_| CloseReason::Upstream)?;
            rest = &rest[n..];
        }
    }
    drop(early);
    let mut rounds = 0;
    loop {
        // What cannot be written at once is kept; the buffer is not.
        let rest = side.receive(BUFFER, |bytes| match upstream.try_write(bytes) {
            Ok(n) => Ok(bytes[n..].to_vec()),
            Err(e) if would_block(&e) => Ok(bytes.to_vec()),
            Err(e) => Err(e),
        });
        match rest.await? {
            None => break,
            Some(rest) => {
                let rest = rest.map_err(|_| CloseReason::Upstream)?;
                write_all(upstream, &rest).await.map_err(|_| CloseReason::Upstream)?;
            }
        }
        turn(&mut rounds).await;
    }
    finish(upstream);
    Ok(())
}

async fn down(side: &Metered<'_>, upstream: &TcpStream, early: Vec<u8>) -> Result<(), CloseReason> {
    side.send(&early).await?;
    drop(early);
    let mut rounds = 0;
    loop {
        upstream.readable().await.map_err(|_| CloseReason::Upstream)?;
        let rest = with_buffer(|buf| match upstream.try_read(buf) {
            Ok(0) => Ok(None),
            Ok(n) => match side.try_send(&buf[..n])? {
                Sent::Some(sent) => Ok(Some(buf[sent..n].to_vec())),
                Sent::Blocked | Sent::Dry => Ok(Some(buf[..n].to_vec())),
            },
            Err(e) if would_block(&e) => Ok(Some(Vec::new())),
            Err(_) => Err(CloseReason::Upstream),
        })?;
        match rest {
            None => break,
            Some(rest) => side.send(&rest).await?,
        }
        turn(&mut rounds).await;
    }
    finish(side.client);
    Ok(())
}

async fn turn(rounds: &mut u32) {
    *rounds += 1;
    if rounds.is_multiple_of(TURN) {
        tokio::task::yield_now().await;
    }
}
