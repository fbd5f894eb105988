//! **Usage events** (S3): what became of a connection, for people who look at it. Nothing is
//! counted or billed from them: that is what [`crate::daily`] is for.
//!
//! The edge that carries a connection makes each event once, and repeats it word by word until it
//! is written. An event is the same as another if its [`EventId`] is: at most one for each
//! connection, kind and number.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{InvalidId, LineLabel, ProxyId};
use crate::live::ConnectionId;
use crate::time::Timestamp;

/// Events are kept this long, and then nobody sees them: they hold addresses of people.
pub const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What happened, in the order in which it happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It was admitted, and its way stood.
    ConnectionStart,
    /// Bytes moved, and it goes on.
    DataTransfer,
    /// It failed: it came to nothing, or was broken off.
    Error,
    /// It ended.
    ConnectionEnd,
}

impl EventKind {
    /// All four.
    pub const ALL: [Self; 4] = [Self::ConnectionStart, Self::DataTransfer, Self::Error, Self::ConnectionEnd];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionStart => "connection_start",
            Self::DataTransfer => "data_transfer",
            Self::Error => "error",
            Self::ConnectionEnd => "connection_end",
        }
    }
}

/// Which events an edge writes: each costs a write unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    /// All of them.
    On,
    /// Errors alone.
    #[default]
    Errors,
    /// None.
    Off,
}

impl Recording {
    /// Whether events of this kind are written.
    #[must_use]
    pub fn wants(self, kind: EventKind) -> bool {
        match self {
            Self::On => true,
            Self::Errors => kind == EventKind::Error,
            Self::Off => false,
        }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Errors => "errors",
            Self::Off => "off",
        })
    }
}

/// A text is none of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is one of on, errors, off")]
pub struct InvalidRecording;

impl FromStr for Recording {
    type Err = InvalidRecording;
    fn from_str(s: &str) -> Result<Self, InvalidRecording> {
        [Self::On, Self::Errors, Self::Off].into_iter().find(|r| r.to_string() == s).ok_or(InvalidRecording)
    }
}

/// Which event: `<edge>.<epoch>-<number>:<kind>:<seq>` in text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Of which connection.
    pub connection: ConnectionId,
    /// What happened to it.
    pub kind: EventKind,
    /// Which one of this kind, from 0.
    pub seq: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.connection, self.kind.as_str(), self.seq)
    }
}

impl FromStr for EventId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        const BAD: InvalidId = InvalidId { what: "event", rule: "edge.epoch-number:kind:seq" };
        let mut parts = s.splitn(3, ':');
        let mut next = || parts.next().ok_or(BAD);
        let (connection, kind, seq) = (next()?, next()?, next()?);
        Ok(Self {
            connection: connection.parse().map_err(|_| BAD)?,
            kind: EventKind::ALL.into_iter().find(|k| k.as_str() == kind).ok_or(BAD)?,
            seq: seq.parse().map_err(|_| BAD)?,
        })
    }
}

/// Where an event stands in the order of a day: `<milliseconds>:<event>` in text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPlace {
    /// When it happened.
    pub at: Timestamp,
    /// Which it is.
    pub id: EventId,
}

impl fmt::Display for EventPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.at.as_millis(), self.id)
    }
}

impl FromStr for EventPlace {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        const BAD: InvalidId = InvalidId { what: "place", rule: "milliseconds:event" };
        let (at, id) = s.split_once(':').ok_or(BAD)?;
        Ok(Self { at: Timestamp::from_millis(at.parse().map_err(|_| BAD)?), id: id.parse()? })
    }
}

impl TryFrom<String> for EventPlace {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<EventPlace> for String {
    fn from(v: EventPlace) -> String {
        v.to_string()
    }
}

/// One event. There is no field for a target, a head or a password, so none can be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// Of which connection: a tunnel, a request in absolute form, or a UDP association.
    pub connection: ConnectionId,
    /// What happened.
    pub kind: EventKind,
    /// Which one of this kind, from 0.
    pub seq: u32,
    /// When, by the edge's clock.
    pub at: Timestamp,
    /// Over which line.
    pub line: LineLabel,
    /// Over which proxy, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyId>,
    /// Bytes from the client so far: figures of a connection only grow.
    pub ingress: u64,
    /// Bytes to the client so far.
    pub egress: u64,
    /// Milliseconds since it asked.
    pub duration_ms: u64,
    /// Of an end: why it ended. Of an error: the code that the client was told, or why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// Where the client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}

impl UsageEvent {
    /// Which it is.
    #[must_use]
    pub fn id(&self) -> EventId {
        EventId { connection: self.connection.clone(), kind: self.kind, seq: self.seq }
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> EventPlace {
        EventPlace { at: self.at, id: self.id() }
    }

    /// Bytes of both directions.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ingress.saturating_add(self.egress)
    }

    /// From when on nobody sees it.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.at.plus(KEPT)
    }
}
