//! The running edge's side.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, accept_with, bind, listen};
use tokio::sync::oneshot;
use tollgate_domain::id::EdgeId;

use super::wire::{Say, Wire, address, socket};
use super::{CHUNK, NamedListener, VERSION, other};

/// Time for one message; a successor that is silent between messages is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Yields other descriptors of all sockets the edge listens on now.
pub type Listeners = Box<dyn Fn() -> io::Result<Vec<NamedListener>> + Send>;

/// The socket a successor asks at. Dropped, nobody can take over any more, and the descriptors
/// it may have held are closed.
#[derive(Debug)]
pub struct Offer {
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

/// A successor accepts connections now.
#[derive(Debug)]
pub struct Taken(Wire);

impl Taken {
    /// The successor's process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.0.peer()
    }

    /// Tells it that this process accepts no more.
    ///
    /// # Errors
    /// If it is gone meanwhile.
    pub fn draining(&self) -> io::Result<()> {
        self.0.send(&Say::Draining, &[])
    }
}

struct Server {
    path: PathBuf,
    edge: EdgeId,
    socket: OwnedFd,
    stop: UnixStream,
    listeners: Listeners,
}

enum Ended {
    /// A successor accepts.
    Taken(Wire),
    /// The edge shuts down.
    Stopped,
}

impl Offer {
    /// Offers what `listeners` yields at `path`, replacing what is there. The receiver hears of
    /// the successor, at most once.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn start(path: &Path, edge: EdgeId, listeners: Listeners) -> io::Result<(Self, oneshot::Receiver<Taken>)> {
        let socket = publish(path)?;
        let (stop, stopped) = UnixStream::pair()?;
        let server = Server { path: path.to_owned(), edge, socket, stop: stopped, listeners };
        let (tell, taken) = oneshot::channel();
        let run = move || {
            if let Ended::Taken(wire) = server.run() {
                let _ = tell.send(Taken(wire));
            } else {
                // The successor's socket, if there were one, would be its own to remove.
                let _ = std::fs::remove_file(&server.path);
            }
        };
        let thread = std::thread::Builder::new().name("takeover".to_owned()).spawn(run)?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, taken))
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listening socket that appears at `path` complete: mode set, listening.
fn publish(path: &Path) -> io::Result<OwnedFd> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let socket = socket()?;
    bind(&socket, &address(&fresh)?)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    listen(&socket, 4)?;
    std::fs::rename(&fresh, path)?;
    Ok(socket)
}

impl Server {
    fn run(&self) -> Ended {
        loop {
            match self.wait(self.socket.as_fd(), PollFlags::IN, None) {
                Ok(true) => {}
                Ok(false) => return Ended::Stopped,
                Err(e) => {
                    tracing::error!(error = %e, "no successor can take over: the socket cannot be watched");
                    return Ended::Stopped;
                }
            }
            let accepted = accept_with(&self.socket, SocketFlags::CLOEXEC).map_err(io::Error::from);
            match accepted.and_then(Wire::new).and_then(|wire| self.serve(wire)) {
                Ok(ended) => return ended,
                Err(e) => tracing::warn!(error = %e, "a hand-over ended early; this edge goes on"),
            }
        }
    }

    /// Waits for `fd`; `false` if the edge shuts down first.
    fn wait(&self, fd: BorrowedFd<'_>, flags: PollFlags, time: Option<Duration>) -> io::Result<bool> {
        let time =
            time.map(|t| rustix::event::Timespec { tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 });
        let mut watched = [PollFd::from_borrowed_fd(fd, flags), PollFd::new(&self.stop, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut watched, time.as_ref()))?;
        if ready == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(watched[1].revents().is_empty())
    }

    /// One successor, from hello to serving.
    fn serve(&self, wire: Wire) -> io::Result<Ended> {
        wire.patience(PATIENCE)?;
        if !self.wait(wire.as_fd(), PollFlags::IN, Some(PATIENCE))? {
            return Ok(Ended::Stopped);
        }
        let (hello, _) = wire.receive()?;
        let refuse = |why: String| {
            wire.send(&Say::Refused { why: why.clone() }, &[])?;
            Err(other(why))
        };
        match hello {
            Say::Hello { version: VERSION, edge } if edge == self.edge.as_str() => {}
            Say::Hello { version: VERSION, edge } => return refuse(format!("this is edge {}, not {edge}", self.edge)),
            Say::Hello { version, .. } => return refuse(format!("version {version} is spoken there, {VERSION} here")),
            _ => return refuse("a hello comes first".to_owned()),
        }
        let listeners = match (self.listeners)() {
            Ok(listeners) => listeners,
            Err(e) => return refuse(format!("the listening sockets cannot be shared: {e}")),
        };
        tracing::info!(listeners = listeners.len(), "a successor takes over");
        let chunks = listeners.len().div_ceil(CHUNK).max(1);
        for n in 0..chunks {
            let chunk = &listeners[n * CHUNK..listeners.len().min((n + 1) * CHUNK)];
            let names = chunk.iter().map(|l| l.name).collect();
            let fds: Vec<_> = chunk.iter().map(|l| l.listener.as_fd()).collect();
            wire.send(&Say::Listeners { names, last: n + 1 == chunks }, &fds)?;
        }
        drop(listeners);
        // As long as it takes: it settles what earlier lives left behind before it accepts. If it
        // dies, the socket says so.
        if !self.wait(wire.as_fd(), PollFlags::IN, None)? {
            return Ok(Ended::Stopped);
        }
        match wire.receive()?.0 {
            Say::Serving => Ok(Ended::Taken(wire)),
            said => Err(other(format!("the successor said {said:?}, not that it serves"))),
        }
    }
}
