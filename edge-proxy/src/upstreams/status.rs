//! What the ports are doing, for people and for the admin listener. No secret is in it.

use serde_json::{Value, json};

use super::Upstreams;
use super::doors::State;

/// One upstream of the file, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// None where the range was too small.
    pub port: Option<u16>,
    /// Its name in counters and logs.
    pub upstream: String,
    /// What the port is doing.
    pub state: PortState,
    /// Connections open through the port.
    pub open: u64,
    /// Connections through the port since it opened.
    pub connections: u64,
}

/// What a port is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Customers can connect.
    Listening,
    /// It could not be bound, for this reason, and is tried again.
    Failed(String),
    /// The upstream has no port: the range was too small.
    Unbound,
}

impl PortStatus {
    /// For the admin listener.
    pub(crate) fn json(&self) -> Value {
        let (state, why) = match &self.state {
            PortState::Listening => ("listening", None),
            PortState::Failed(why) => ("failed", Some(why)),
            PortState::Unbound => ("unbound", None),
        };
        let mut row = json!({
            "port": self.port, "upstream": self.upstream, "state": state,
            "open": self.open, "connections": self.connections,
        });
        if let Some(why) = why {
            row["why"] = json!(why);
        }
        row
    }
}

impl Upstreams {
    /// All ports by number, then the upstreams without one.
    pub fn status(&self) -> Vec<PortStatus> {
        let Some(from_file) = &self.from_file else { return Vec::new() };
        let state = from_file.state();
        let bound = state.doors.all().iter().map(|(port, door)| {
            let (doing, open, connections) = match &door.state {
                State::Listening(e) => (PortState::Listening, e.open(), e.connections()),
                State::Failed { why, .. } => (PortState::Failed(why.clone()), 0, 0),
            };
            let upstream = door.upstream.id.to_string();
            PortStatus { port: Some(*port), upstream, state: doing, open, connections }
        });
        let unbound = state.unbound.iter().filter_map(|identity| {
            let upstream = state.rows.get(identity)?.id.to_string();
            Some(PortStatus { port: None, upstream, state: PortState::Unbound, open: 0, connections: 0 })
        });
        bound.chain(unbound).collect()
    }
}
