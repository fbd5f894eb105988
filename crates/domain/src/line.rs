//! Lines: what a customer calls one stable exit. A line has at most one open assignment.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::id::{EdgeSession, LineKey, LineLabel, ProxyId};
use crate::proxy::ProxyClass;
use crate::time::Timestamp;

/// How long a line without tunnels stays open: 5 minutes.
pub const DISCONNECT_AFTER: Duration = Duration::from_secs(300);
/// How long an edge waits after a line's last tunnel before it says that the line is quiet.
pub const LINGER: Duration = Duration::from_secs(30);

/// What keeps a line open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "until", content = "minutes")]
pub enum Hold {
    /// Its tunnels, and [`DISCONNECT_AFTER`] after the last one (a line made by a user name).
    Tunnels,
    /// Only an explicit close ends it (a line made by the API).
    Closed,
    /// Its tunnels, but at least these minutes from its making.
    Minutes(u32),
}

/// Whether the line is in use as a noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineState {
    /// It may have an assignment.
    Open,
    /// It has none; a new request opens it again.
    Closed,
}

/// A line as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which line.
    pub key: LineKey,
    /// Open or closed.
    pub state: LineState,
    /// The country it asked for.
    pub country: Country,
    /// The class it asked for.
    pub class: ProxyClass,
    /// What keeps it open.
    pub hold: Hold,
    /// A session has no proxy of its own: the line whose proxy it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<LineLabel>,
    /// Since when edges have tunnels on it, by session. Entries of dead edges are ignored.
    #[serde(default)]
    pub open: BTreeMap<EdgeSession, Timestamp>,
    /// When it closes by itself, once nobody has a tunnel on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_due: Option<Timestamp>,
    /// Counts writes.
    pub ver: u64,
    /// The proxy that served it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_proxy: Option<ProxyId>,
    /// When it was opened (again).
    pub opened_at: Timestamp,
    /// When it was last closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
}

impl Line {
    /// When the line closes if its last tunnel ends at `now`; none = never by itself.
    #[must_use]
    pub fn due_after_quiet(&self, now: Timestamp) -> Option<Timestamp> {
        match self.hold {
            Hold::Tunnels => Some(now.plus(DISCONNECT_AFTER)),
            Hold::Closed => None,
            Hold::Minutes(m) => {
                let held = self.opened_at.plus(Duration::from_secs(u64::from(m) * 60));
                Some(held.max(now.plus(DISCONNECT_AFTER)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_user_name_closes_five_minutes_after_its_last_tunnel() {
        let at = Timestamp::from_secs;
        let mut l = Line {
            key: "demo#a".parse().unwrap(),
            state: LineState::Open,
            country: Country::parse("be").unwrap(),
            class: ProxyClass::Isp,
            hold: Hold::Tunnels,
            alias: None,
            open: BTreeMap::new(),
            close_due: None,
            ver: 1,
            last_proxy: None,
            opened_at: at(0),
            closed_at: None,
        };
        assert_eq!(l.due_after_quiet(at(10)), Some(at(310)));
        l.hold = Hold::Closed;
        assert_eq!(l.due_after_quiet(at(10)), None);
        l.hold = Hold::Minutes(60);
        assert_eq!(l.due_after_quiet(at(10)), Some(at(3600)));
        assert_eq!(l.due_after_quiet(at(3590)), Some(at(3890)));
        let json = serde_json::to_string(&Hold::Minutes(5)).unwrap();
        assert_eq!(json, r#"{"until":"minutes","minutes":5}"#);
    }
}
