//! The successor's side.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rustix::net::{connect, sockopt};
use tollgate_domain::id::EdgeId;

use super::wire::{Say, Wire, address, socket};
use super::{ListenerKind, ListenerName, MAX_LISTENERS, NamedListener, VERSION, other};

/// Time for one message of the running edge.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a running edge handed over.
#[derive(Debug)]
pub struct Received {
    wire: Wire,
    listeners: Vec<NamedListener>,
}

/// Asks the edge at `path` for its listening sockets. `None` if nobody answers there. Blocks.
///
/// # Errors
/// If an edge answers and the hand-over fails: it goes on as if nothing had happened.
pub fn receive(path: &Path, edge: &EdgeId) -> io::Result<Option<Received>> {
    let socket = socket()?;
    match connect(&socket, &address(path)?).map_err(io::Error::from) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => return Ok(None),
        other => other?,
    }
    let wire = Wire::new(socket)?;
    wire.patience(PATIENCE)?;
    wire.send(&Say::Hello { version: VERSION, edge: edge.to_string() }, &[])?;
    let mut listeners = Vec::new();
    loop {
        let (said, fds) = wire.receive()?;
        let (names, last) = match said {
            Say::Listeners { names, last } => (names, last),
            Say::Refused { why } => return Err(other(format!("the running edge refuses: {why}"))),
            said => return Err(other(format!("the running edge said {said:?}, not what it listens on"))),
        };
        if names.len() != fds.len() || listeners.len() + names.len() > MAX_LISTENERS {
            return Err(other(format!("{} names came with {} descriptors", names.len(), fds.len())));
        }
        for (name, fd) in names.into_iter().zip(fds) {
            if !sockopt::socket_acceptconn(&fd)? {
                return Err(other(format!("{name} does not listen")));
            }
            let listener = TcpListener::from(fd);
            if listener.local_addr()? != name.address {
                return Err(other(format!("{name} is bound elsewhere")));
            }
            listeners.push(NamedListener { name, listener });
        }
        if last {
            return Ok(Some(Received { wire, listeners }));
        }
    }
}

impl Received {
    /// The socket of this kind at this address, if it came; once.
    pub fn take(&mut self, kind: ListenerKind, address: SocketAddr) -> Option<TcpListener> {
        let name = ListenerName { kind, address };
        let found = self.listeners.iter().position(|l| l.name == name)?;
        Some(self.listeners.swap_remove(found).listener)
    }

    /// All sockets of this kind that were not taken yet.
    pub fn take_all(&mut self, kind: ListenerKind) -> Vec<NamedListener> {
        self.listeners.extract_if(.., |l| l.name.kind == kind).collect()
    }

    /// Tells the old edge that this one accepts, and waits until the old one no longer does. What
    /// was not taken is closed: no longer listened on, once the old edge is gone too. Blocks.
    ///
    /// # Errors
    /// If the old edge is gone, or does not answer: the sockets are this process's all the same.
    pub fn serving(self) -> io::Result<()> {
        self.wire.send(&Say::Serving, &[])?;
        match self.wire.receive()?.0 {
            Say::Draining => Ok(()),
            said => Err(other(format!("the old edge said {said:?}, not that it drains"))),
        }
    }
}
