//! Hand-over of listening sockets from a running edge to its successor, without a connection
//! refused or cut.
//!
//! The running edge makes an [`Offer`]: a unix socket (mode 0600, same user only). A new process
//! calls [`receive()`] and gets all listening sockets, by name. Both share the sockets from then
//! on, queues of pending connections included. Once the new process accepts, it says
//! [`Received::serving`]; the old then stops accepting, says so ([`Taken::draining`]), and ends
//! when its tunnels have. If the new process dies first, nothing has happened.
//!
//! ```text
//! new → hello {version, edge}
//! old → listeners {names, last} + descriptors, at most 200 a message
//! new → serving
//! old → draining
//! ```

mod offer;
mod receive;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

pub use self::offer::{Offer, Taken};
pub use self::receive::{Received, receive};

/// Version of the messages. Another one is refused: the old process goes on.
const VERSION: u32 = 1;
/// Descriptors in one message; the kernel's limit is 253.
const CHUNK: usize = 200;
/// Listeners that are received at most.
const MAX_LISTENERS: usize = 16_384;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerKind {
    /// Customers, every protocol by first byte.
    Gateway,
    /// Customers, TLS only.
    Tls,
    /// Customers, one upstream.
    Port,
    /// Health, metrics, kicks.
    Admin,
}

/// Names a listener to both processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListenerName {
    /// What it is for.
    pub kind: ListenerKind,
    /// The address it is bound to.
    pub address: SocketAddr,
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ListenerKind::Gateway => "gateway",
            ListenerKind::Tls => "tls",
            ListenerKind::Port => "port",
            ListenerKind::Admin => "admin",
        };
        write!(f, "{kind} {}", self.address)
    }
}

/// A listening socket and its name.
#[derive(Debug)]
pub struct NamedListener {
    /// What it is for, and where.
    pub name: ListenerName,
    /// The socket.
    pub listener: TcpListener,
}

impl NamedListener {
    /// Names `listener` by the address it is bound to.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn new(kind: ListenerKind, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { name: ListenerName { kind, address }, listener })
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// If descriptors are short.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { name: self.name, listener: self.listener.try_clone()? })
    }
}

fn other(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}
