//! The change feed: what live edges must hear of, within 2 s.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::allow::Block;
use crate::budget::Bucket;
use crate::id::{CustomerId, EdgeSession, LineKey, LineLabel, ProviderId, RequestId, UserName};
use crate::live::ConnectionId;
use crate::time::Timestamp;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entity", content = "key")]
pub enum Entity {
    /// A customer's profile: plan, limits, ban, lock, expiry, kick.
    Customer(CustomerId),
    /// A credential: made, rotated or removed.
    Credential(UserName),
    /// A line: closed or rebound.
    Line(LineKey),
    /// A provider's row.
    Provider(ProviderId),
    /// A customer's allowance: a bucket was made or got a grant.
    Allowance(CustomerId),
    /// The listed sources inside a block of addresses.
    AllowBlock(Block),
    /// A customer's share: the strike clock locked it out, or an operator ended that. The version
    /// is the share item's.
    Share(CustomerId),
    /// An edge wants more of a customer's capacity, of which others hold some. The version is the
    /// share item's.
    ShareWanted(CustomerId),
    /// An edge has run dry of a bucket of which others hold something: they give back what they do
    /// not use. Each entry asks once, whatever its version says.
    BytesWanted {
        /// Whose bucket.
        customer: CustomerId,
        /// Which.
        bucket: Bucket,
        /// Who asks, and need not hear it.
        by: EdgeSession,
    },
    /// Something to do now. Each entry is one command, whatever its version says.
    Command(Command),
}

/// What edges are told to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Close some of a customer's tunnels. All of them is [`Entity::Customer`] with its
    /// `kicked_at`.
    Kick {
        /// Whose.
        customer: CustomerId,
        /// Which of them.
        selector: Selector,
        /// Only those opened before then.
        at: Timestamp,
    },
    /// Begin new log files.
    RotateLogs {
        /// When it was asked.
        at: Timestamp,
    },
    /// Write down which tunnels are live.
    ReportLive {
        /// Under which request.
        request: RequestId,
        /// Of one customer; none = of all.
        customer: Option<CustomerId>,
        /// Most tunnels to name.
        limit: u16,
        /// When it was asked: nobody waits for a late answer.
        at: Timestamp,
    },
    /// Accept no more, let tunnels finish, cut the rest, settle and close all leases; and stay
    /// there to be asked.
    Drain {
        /// Which life: the next one of the edge is not meant.
        session: EdgeSession,
        /// Seconds that tunnels get to finish.
        within_s: u32,
        /// When it was asked.
        at: Timestamp,
    },
}

/// Which tunnels of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// Those of a line.
    Line(LineLabel),
    /// Those whose client is in a network, or is one address.
    Source(IpNet),
    /// This one.
    Connection(ConnectionId),
}

impl Selector {
    /// The clients in a network, `203.0.113.0/24`, or at one address; an IPv4 address in its IPv6
    /// spelling is that IPv4 address. None if the text is neither.
    #[must_use]
    pub fn source(text: &str) -> Option<Self> {
        let net = match text.parse::<IpAddr>() {
            Ok(ip) => IpNet::from(ip.to_canonical()),
            Err(_) => text.parse::<IpNet>().ok()?.trunc(),
        };
        Some(Self::Source(net))
    }
}

/// One entry of the feed. Entries may arrive twice and out of order: only a higher version of an
/// entity is acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What changed.
    #[serde(flatten)]
    pub entity: Entity,
    /// The version written with it.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_network() {
        let source = |text| match Selector::source(text) {
            Some(Selector::Source(net)) => net.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(source("203.0.113.7"), "203.0.113.7/32");
        assert_eq!(source("::ffff:203.0.113.7"), "203.0.113.7/32");
        assert_eq!(source("203.0.113.7/24"), "203.0.113.0/24");
        assert_eq!(source("2001:db8::1"), "2001:db8::1/128");
        for bad in ["", "a", "203.0.113", "203.0.113.7/33", "2001:db8::/129", "203.0.113.7 "] {
            assert_eq!(Selector::source(bad), None, "{bad}");
        }
    }

    #[test]
    fn entries_round_trip() {
        let customer: CustomerId = "demo".parse().unwrap();
        let at = Timestamp::from_secs(1_800_000_000);
        let kick = |selector| Command::Kick { customer: customer.clone(), selector, at };
        for entity in [
            Entity::Customer(customer.clone()),
            Entity::Line("demo#chip1".parse().unwrap()),
            Entity::Share(customer.clone()),
            Entity::ShareWanted(customer.clone()),
            Entity::BytesWanted {
                customer: customer.clone(),
                bucket: Bucket::Pack { expires: at, pack: "p1".into() },
                by: "e1.2".parse().unwrap(),
            },
            Entity::Command(kick(Selector::Line("chip1".parse().unwrap()))),
            Entity::Command(kick(Selector::Source("2001:db8::/48".parse().unwrap()))),
            Entity::Command(kick(Selector::Connection("e1.2-3".parse().unwrap()))),
            Entity::Command(Command::RotateLogs { at }),
            Entity::Command(Command::ReportLive { request: "01J".parse().unwrap(), customer: None, limit: 9, at }),
            Entity::Command(Command::Drain { session: "e1.2".parse().unwrap(), within_s: 60, at }),
        ] {
            let change = Change { entity, version: 7 };
            let text = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<Change>(&text).unwrap(), change, "{text}");
        }
    }
}
