//! What is live over the fleet at one instant: each edge's report of its tunnels, asked for
//! through the change feed.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::id::{CustomerId, EdgeSession, InvalidId, LineLabel};
use crate::time::Timestamp;

/// Most tunnels that one edge's report names.
pub const MOST_TUNNELS: u16 = 500;

/// One tunnel of one life of an edge: `<edge>.<epoch>-<number>` in text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionId {
    /// Which life of which edge.
    pub session: EdgeSession,
    /// The edge's own number.
    pub number: u64,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.session, self.number)
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        const BAD: InvalidId = InvalidId { what: "connection", rule: "edge.epoch-number" };
        // An edge id has no hyphen.
        let (session, number) = s.split_once('-').ok_or(BAD)?;
        Ok(Self { session: session.parse().map_err(|_| BAD)?, number: number.parse().map_err(|_| BAD)? })
    }
}

impl TryFrom<String> for ConnectionId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<ConnectionId> for String {
    fn from(v: ConnectionId) -> String {
        v.to_string()
    }
}

/// A live tunnel or request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTunnel {
    /// Its number at its edge.
    pub number: u64,
    /// Whose it is.
    pub customer: CustomerId,
    /// Over which line.
    pub line: LineLabel,
    /// Where the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The edge's port that it came in by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_port: Option<u16>,
    /// What it goes through: `<provider>/<ip>`, or the upstream's own name.
    pub upstream: String,
    /// Where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// Bytes from the client so far; none = its edge does not count them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<u64>,
    /// Bytes to the client so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<u64>,
    /// When it began.
    pub opened_at: Timestamp,
}

/// What one edge answers to a request for live tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveReport {
    /// Which life of which edge answers.
    pub session: EdgeSession,
    /// When.
    pub at: Timestamp,
    /// Customers with tunnels there, of those asked for.
    pub customers: u32,
    /// Tunnels there, of the customers asked for: also those that are not named below.
    pub tunnels: u32,
    /// The newest ones, at most as many as were asked for.
    pub newest: Vec<LiveTunnel>,
}

impl LiveReport {
    /// A report of `tunnels`, of which the `limit` newest are named.
    #[must_use]
    pub fn new(session: EdgeSession, at: Timestamp, mut tunnels: Vec<LiveTunnel>, limit: u16) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let customers = count(tunnels.iter().map(|t| &t.customer).collect::<BTreeSet<_>>().len());
        let all = count(tunnels.len());
        tunnels.sort_unstable_by_key(|t| std::cmp::Reverse((t.opened_at, t.number)));
        tunnels.truncate(usize::from(limit.min(MOST_TUNNELS)));
        Self { session, at, customers, tunnels: all, newest: tunnels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_round_trip_and_nothing_else_is_one() {
        let id: ConnectionId = "edge1.3-42".parse().unwrap();
        assert_eq!((id.session.edge.as_str(), id.session.epoch, id.number), ("edge1", 3, 42));
        assert_eq!(id.to_string(), "edge1.3-42");
        assert_eq!(serde_json::from_str::<ConnectionId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        for bad in [
            "",
            "42",
            "edge1-42",
            "edge1.3",
            "edge1.3-",
            "edge1.3-x",
            "edge1.3-4-2",
            "Edge.1-2",
            "e.1-99999999999999999999",
        ] {
            assert!(bad.parse::<ConnectionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_report_counts_all_and_names_the_newest() {
        let tunnel = |number, customer: &str, opened| LiveTunnel {
            number,
            customer: customer.parse().unwrap(),
            line: "default".parse().unwrap(),
            source: None,
            listener_port: None,
            upstream: "brd/203.0.113.7".into(),
            country: None,
            ingress: None,
            egress: None,
            opened_at: Timestamp::from_secs(opened),
        };
        let tunnels = vec![tunnel(1, "a", 5), tunnel(2, "b", 9), tunnel(3, "a", 9), tunnel(4, "a", 1)];
        let report = LiveReport::new("e1.1".parse().unwrap(), Timestamp::from_secs(10), tunnels, 3);
        assert_eq!((report.customers, report.tunnels), (2, 4));
        assert_eq!(report.newest.iter().map(|t| t.number).collect::<Vec<_>>(), [3, 2, 1]);
        let many = (0..2000).map(|n| tunnel(n, "a", n)).collect();
        let report = LiveReport::new("e1.1".parse().unwrap(), Timestamp::from_secs(10), many, u16::MAX);
        assert_eq!((report.tunnels, report.newest.len()), (2000, 500));
    }
}
