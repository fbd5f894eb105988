//! One worker's accepting: no other thread touches the connections it takes.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::entrance::Entrance;
use super::listeners::{Listeners, Listening, Watch};
use crate::worker::seats::{Seat, Seats};

/// Listeners looked at per wake.
const LISTENERS: usize = 8;
/// Connections taken from one listener per wake: no listener, and no worker's tunnels, wait long
/// behind a crowd (HAProxy's `MAX_ACCEPT`).
const BATCH: usize = 4;
/// How long a worker that carries many waits for others to take a connection.
const HOLD_BACK: Duration = Duration::from_millis(1);
/// Wait after a failed accept: what is short comes back.
const PAUSE: Duration = Duration::from_millis(50);
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A connection, and the door it came through.
pub(crate) struct Accepted {
    pub stream: TcpStream,
    pub peer: SocketAddr,
    pub entrance: Arc<Entrance>,
}

/// See the module.
pub(crate) struct Acceptor {
    watch: AsyncFd<Watch>,
    taker: Taker,
}

/// What accepting changes.
struct Taker {
    seats: Arc<Seats>,
    worker: usize,
    /// Given up to take a connection and close it, when there are no descriptors.
    spare: Option<OwnedFd>,
    /// Failures are logged once until an accept succeeds.
    failing: bool,
}

/// How a look at the listeners ended; the greater outweighs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// Nobody waited when it ended.
    Empty,
    /// Somebody may still wait.
    More,
    /// The system is short of something.
    Short,
}

impl Acceptor {
    /// For one worker. Must be called inside that worker's runtime.
    ///
    /// # Errors
    /// If the runtime cannot watch the listeners.
    pub fn new(listeners: &Arc<Listeners>, seats: &Arc<Seats>, worker: usize) -> io::Result<Self> {
        let watch = Watch { listeners: Arc::clone(listeners), worker };
        // Deprecated for descriptors that may be closed while registered; this one lives in the
        // listeners, which `Watch` keeps. Its successor asks for `unsafe`.
        #[allow(deprecated)]
        let watch = AsyncFd::with_interest(watch, Interest::READABLE)?;
        let taker = Taker { seats: Arc::clone(seats), worker, spare: spare(), failing: false };
        Ok(Self { watch, taker })
    }

    /// Hands connections to `serve`, until the runtime ends.
    pub async fn run(self, mut serve: impl FnMut(Accepted, Seat)) {
        let Self { watch, mut taker } = self;
        loop {
            let Ok(mut ready) = watch.readable().await else { return };
            if taker.seats.heavy(taker.worker) {
                // The lighter workers heard of it too; what they leave is ours.
                sleep(HOLD_BACK).await;
            }
            match taker.look(watch.get_ref(), &mut serve) {
                // Every listener was empty after this readiness was taken: who came later has
                // made, or will make, a new event, and that one is not cleared here.
                Look::Empty => ready.clear_ready(),
                Look::More => {}
                Look::Short => sleep(PAUSE).await,
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Taker {
    /// Looks at the listeners once, without waiting.
    fn look(&mut self, watch: &Watch, serve: &mut impl FnMut(Accepted, Seat)) -> Look {
        let mut events = [const { MaybeUninit::uninit() }; LISTENERS];
        let ready = match epoll::wait(watch, &mut events, Some(&AT_ONCE)) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Look::More,
            Err(e) => return self.failed(e),
        };
        let mut found = if ready.len() < LISTENERS { Look::Empty } else { Look::More };
        for event in ready.iter() {
            let id = event.data;
            // Removed since: its socket is no longer watched.
            let Some(listening) = watch.listeners.find(id.u64()) else { continue };
            found = found.max(self.drain(&listening, serve));
        }
        found
    }

    /// Takes up to [`BATCH`] connections of one listener.
    fn drain(&mut self, listening: &Listening, serve: &mut impl FnMut(Accepted, Seat)) -> Look {
        for _ in 0..BATCH {
            match acceptfrom_with(&listening.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, peer)) => {
                    self.failing = false;
                    let peer = peer.and_then(|p| SocketAddr::try_from(p).ok());
                    let Some(peer) = peer else { continue };
                    // Over the limit: closed at once.
                    let Some(seat) = self.seats.take(self.worker, &listening.entrance) else { continue };
                    match TcpStream::from_std(socket.into()) {
                        Ok(stream) => {
                            let entrance = Arc::clone(&listening.entrance);
                            serve(Accepted { stream, peer, entrance }, seat);
                        }
                        Err(e) => return self.failed(e),
                    }
                }
                Err(Errno::AGAIN) => return Look::Empty,
                // Gone before it was taken (accept(2)).
                Err(e) if of_one_connection(e) => {}
                Err(e) => {
                    if matches!(e, Errno::MFILE | Errno::NFILE) {
                        self.turn_away(listening);
                    }
                    return self.failed(e);
                }
            }
        }
        Look::More
    }

    /// Closes who waits, so that they learn it now and try elsewhere.
    fn turn_away(&mut self, listening: &Listening) {
        for _ in 0..BATCH {
            if self.spare.take().is_none() {
                break;
            }
            let turned = acceptfrom_with(&listening.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
            let none = turned.is_err();
            drop(turned);
            self.spare = spare();
            if none {
                break;
            }
            self.seats.metrics().accept_failures.fetch_add(1, Ordering::Relaxed);
        }
        // Another thread may have been quicker to use the descriptor.
        self.spare = self.spare.take().or_else(spare);
    }

    fn failed(&mut self, why: impl std::fmt::Display) -> Look {
        self.seats.metrics().accept_failures.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error = %why, worker = self.worker, "connections cannot be accepted; trying on");
        }
        Look::Short
    }
}

/// Errors that accept(2) tells of a connection, not of the listener.
fn of_one_connection(e: Errno) -> bool {
    matches!(
        e,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::OPNOTSUPP
            | Errno::PERM
    )
}

fn spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

#[cfg(test)]
mod tests;
