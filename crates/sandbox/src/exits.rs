//! Which exit address a connection to the origin stands for.
//!
//! The super-proxy's connections all come from loopback and cannot carry a header inside TLS, so
//! the origin asks here, by the peer's socket address.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use crate::lock;

/// An exit address and its country.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) ip: Ipv4Addr,
    pub(crate) country: String,
}

/// The live connections of the super-proxy, by their local address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exits(Arc<Mutex<HashMap<SocketAddr, Exit>>>);

impl Exits {
    /// Says that connections from `local` stand for `exit` while the guard lives. Drop the guard
    /// before the socket: its port may be taken again at once.
    pub(crate) fn enter(&self, local: SocketAddr, exit: Exit) -> ExitGuard {
        lock(&self.0).insert(local, exit);
        ExitGuard { exits: self.clone(), local }
    }

    pub(crate) fn of(&self, peer: SocketAddr) -> Option<Exit> {
        lock(&self.0).get(&peer).cloned()
    }
}

/// Keeps one entry of [`Exits`].
pub(crate) struct ExitGuard {
    exits: Exits,
    local: SocketAddr,
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        lock(&self.exits.0).remove(&self.local);
    }
}
