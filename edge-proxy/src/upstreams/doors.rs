//! The sockets of the port map: opened, led to another upstream, closed, and tried again.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ingress::entrance::{Entrance, Kind};
use crate::ingress::listeners::Listeners;
use crate::upstream::spec::Upstream;

/// First wait before a port that could not be bound is tried again; it doubles.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// Longest wait.
const RETRY_MOST: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Doors {
    listeners: Arc<Listeners>,
    bind: IpAddr,
    doors: BTreeMap<u16, Door>,
    /// Sockets of an earlier process that listen already.
    inherited: HashMap<u16, TcpListener>,
}

/// A port that an upstream has.
pub(super) struct Door {
    pub upstream: Arc<Upstream>,
    pub state: State,
}

pub(super) enum State {
    Listening(Arc<Entrance>),
    Failed { why: String, wait: Duration, again: Instant },
}

impl Doors {
    pub fn new(listeners: Arc<Listeners>, bind: IpAddr) -> Self {
        Self { listeners, bind, doors: BTreeMap::new(), inherited: HashMap::new() }
    }

    /// Sockets to be used instead of new ones.
    pub fn inherit(&mut self, sockets: impl IntoIterator<Item = (u16, TcpListener)>) {
        self.inherited.extend(sockets);
    }

    /// Closes what was inherited and nobody wanted.
    pub fn disown(&mut self) {
        self.inherited.clear();
    }

    /// By port.
    pub fn all(&self) -> &BTreeMap<u16, Door> {
        &self.doors
    }

    /// How many could not be bound.
    pub fn failed(&self) -> usize {
        self.doors.values().filter(|d| matches!(d.state, State::Failed { .. })).count()
    }

    /// Leads `port` to `upstream`, opening it if it is not open. Costs a system call only then.
    pub fn lead(&mut self, port: u16, upstream: &Arc<Upstream>, now: Instant) {
        match self.doors.get_mut(&port) {
            Some(door) => {
                door.upstream = Arc::clone(upstream);
                if let State::Listening(entrance) = &door.state {
                    entrance.lead_to(Some(Arc::clone(upstream)));
                }
            }
            None => {
                let state = self.open(port, upstream, now, RETRY_FIRST);
                self.doors.insert(port, Door { upstream: Arc::clone(upstream), state });
            }
        }
    }

    /// Closes `port`; connections that came through it go on.
    pub fn shut(&mut self, port: u16) {
        if let Some(Door { state: State::Listening(entrance), .. }) = self.doors.remove(&port) {
            self.listeners.remove(entrance.id);
        }
    }

    /// Tries again those that failed and whose time has come.
    pub fn retry(&mut self, now: Instant) {
        let due = |d: &Door| match d.state {
            State::Failed { again, wait, .. } if again <= now => Some(wait),
            _ => None,
        };
        let due: Vec<_> = self.doors.iter().filter_map(|(port, d)| Some((*port, due(d)?))).collect();
        for (port, wait) in due {
            let Some(upstream) = self.doors.get(&port).map(|d| Arc::clone(&d.upstream)) else { continue };
            let state = self.open(port, &upstream, now, (wait * 2).min(RETRY_MOST));
            if matches!(state, State::Listening(_)) {
                tracing::info!(port, upstream = %upstream.id, "the port listens now");
            }
            self.doors.insert(port, Door { upstream, state });
        }
    }

    fn open(&mut self, port: u16, upstream: &Arc<Upstream>, now: Instant, wait: Duration) -> State {
        let socket = match self.inherited.remove(&port) {
            Some(socket) => Ok(socket),
            None => TcpListener::bind(SocketAddr::new(self.bind, port)),
        };
        let opened = socket.and_then(|s| self.listeners.add(s, Kind::Port(port), Some(Arc::clone(upstream))));
        match opened {
            Ok(entrance) => State::Listening(entrance),
            Err(e) => {
                if wait == RETRY_FIRST {
                    tracing::warn!(port, upstream = %upstream.id, error = %e, "the port cannot be bound; trying on");
                }
                State::Failed { why: e.to_string(), wait, again: now + wait }
            }
        }
    }
}
