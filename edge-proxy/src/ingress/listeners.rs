//! The sockets that all workers accept from: added and removed while they run.
//!
//! Each worker watches an epoll descriptor of its own that holds every listener, so a change is
//! one `epoll_ctl` per worker from whichever thread makes it, and no worker is woken for it.
//!
//! `EPOLLEXCLUSIVE` is not used: workers sleep in their runtime's epoll, which watches ours, and
//! the kernel then wakes all sleepers for an event whatever that flag says (measured). We want it
//! so: a worker that carries more than others leaves a connection to them (`Seats::heavy`), and
//! that needs the others to have heard of it.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustix::event::epoll;
use rustix::net::sockopt;

use super::entrance::{Entrance, Kind};
use crate::upstream::spec::Upstream;

/// Connections that the kernel holds until they are accepted, per listener; capped by
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Silence on a connection before the kernel asks whether the peer lives: under the 350 s after
/// which network load balancers forget a flow.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(240);
/// Between two such questions.
const KEEPALIVE_EACH: Duration = Duration::from_secs(15);
/// Questions without an answer that end a connection.
const KEEPALIVE_TRIES: u32 = 4;

/// A socket and the door it is.
#[derive(Debug)]
pub(crate) struct Listening {
    pub socket: TcpListener,
    pub entrance: Arc<Entrance>,
}

/// The live set.
pub(crate) struct Listeners {
    /// One per worker.
    epolls: Vec<OwnedFd>,
    set: RwLock<Set>,
}

#[derive(Default)]
struct Set {
    closed: bool,
    next: u64,
    open: HashMap<u64, Arc<Listening>>,
}

impl Listeners {
    /// An empty set for this many workers.
    ///
    /// # Errors
    /// If the system has no descriptors.
    pub fn new(workers: usize) -> io::Result<Self> {
        let epolls = (0..workers).map(|_| epoll::create(epoll::CreateFlags::CLOEXEC)).collect::<Result<_, _>>()?;
        Ok(Self { epolls, set: RwLock::default() })
    }

    /// Opens a door: from now on all workers accept from `socket`.
    ///
    /// # Errors
    /// If the system refuses, or the set was closed. The socket is closed then.
    pub fn add(&self, socket: TcpListener, kind: Kind, upstream: Option<Arc<Upstream>>) -> io::Result<Arc<Entrance>> {
        prepare(&socket)?;
        let local = socket.local_addr()?;
        let mut set = self.write();
        if set.closed {
            return Err(io::Error::other("the edge accepts no more"));
        }
        let id = set.next;
        set.next += 1;
        let entrance = Arc::new(Entrance::new(id, kind, local, upstream));
        let listening = Arc::new(Listening { socket, entrance: Arc::clone(&entrance) });
        for watch in &self.epolls {
            let added = epoll::add(watch, &listening.socket, epoll::EventData::new_u64(id), epoll::EventFlags::IN);
            if let Err(e) = added {
                self.forget(&listening);
                return Err(e.into());
            }
        }
        set.open.insert(id, listening);
        Ok(entrance)
    }

    /// Closes a door. Connections that came through it go on; whether it was open.
    pub fn remove(&self, id: u64) -> bool {
        let removed = self.write().open.remove(&id);
        if let Some(listening) = &removed {
            self.forget(listening);
        }
        removed.is_some()
    }

    /// Closes all doors, for good.
    pub fn close(&self) {
        let mut set = self.write();
        set.closed = true;
        for (_, listening) in set.open.drain() {
            self.forget(&listening);
        }
    }

    /// Every open door with its socket, for who takes them over; in order of kind and address.
    pub fn named(&self) -> Vec<Arc<Listening>> {
        let mut all: Vec<_> = self.read().open.values().cloned().collect();
        all.sort_by_key(|l| (l.entrance.kind, l.entrance.local));
        all
    }

    /// Whether an open door's address passes `test`.
    pub fn any(&self, test: impl Fn(SocketAddr) -> bool) -> bool {
        self.read().open.values().any(|l| test(l.entrance.local))
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<Listening>> {
        self.read().open.get(&id).cloned()
    }

    /// Taken out explicitly: a socket that was handed over too would stay watched once we close ours.
    fn forget(&self, listening: &Listening) {
        for watch in &self.epolls {
            let _ = epoll::delete(watch, &listening.socket);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Set> {
        self.set.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What accepted sockets inherit on Linux is set here once, instead of by system calls per connection.
fn prepare(socket: &TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EACH)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_TRIES)?;
    // On a socket that listens already this changes the backlog alone.
    rustix::net::listen(socket, BACKLOG)?;
    Ok(())
}

/// One worker's view of the set, for its runtime.
pub(super) struct Watch {
    pub listeners: Arc<Listeners>,
    pub worker: usize,
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listeners.epolls[self.worker].as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
