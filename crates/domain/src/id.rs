//! Identifiers: one newtype per meaning, checked once at the border. A copy shares the text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::country::Country;

/// A string is not of the form that an identifier must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must match {rule}")]
pub struct InvalidId {
    /// Which identifier.
    pub what: &'static str,
    /// The rule, as a regular expression.
    pub rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $max:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `s` against the rule of this identifier.
            ///
            /// # Errors
            /// [`InvalidId`] with the rule.
            pub fn new(s: impl Into<String>) -> Result<Self, InvalidId> {
                let s = s.into();
                let ok: fn(u8) -> bool = $ok;
                if s.is_empty() || s.len() > $max || !s.bytes().all(ok) {
                    return Err(InvalidId { what: $what, rule: $rule });
                }
                Ok(Self(s.into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(s: &str) -> Result<Self, InvalidId> {
                Self::new(s)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(s: String) -> Result<Self, InvalidId> {
                Self::new(s)
            }
        }

        impl From<$name> for String {
            fn from(v: $name) -> String {
                v.0.as_ref().to_owned()
            }
        }
    };
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
}

id!(
    /// A customer. Stable for life; never reused.
    CustomerId, "customer id", "[a-z0-9_]{1,32}", 32, lower
);
id!(
    /// The name part of a proxy user name: selects one credential of one customer.
    UserName, "user name", "[a-z0-9_]{1,32}", 32, lower
);
id!(
    /// The customer's own label of a line.
    LineLabel, "line", "[A-Za-z0-9_.]{1,64}", 64,
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.'
);
impl LineLabel {
    /// The line of a user name that names none: `default_<cc>` with a country, else `default`.
    #[must_use]
    pub fn of_country(country: Option<Country>) -> Self {
        Self(country.map_or_else(|| "default".into(), |c| format!("default_{c}").into()))
    }
}

id!(
    /// A provider row.
    ProviderId, "provider id", "[a-z0-9_]{1,32}", 32, lower
);
id!(
    /// A purchase or release intent: a ULID, so that order by id is order by time of planning.
    IntentId, "intent id", "[0-9A-Za-z]{1,40}", 40, |b| b.is_ascii_alphanumeric()
);
id!(
    /// An edge node.
    EdgeId, "edge id", "[a-z0-9_]{1,32}", 32, lower
);
id!(
    /// One pass of `assign` over one line: who holds the line's claim.
    AttemptId, "attempt id", "[0-9A-Za-z]{1,40}", 40, |b| b.is_ascii_alphanumeric()
);
id!(
    /// A question to all edges, and the name under which they answer it.
    RequestId, "request id", "[0-9A-Za-z]{1,40}", 40, |b| b.is_ascii_alphanumeric()
);

/// A line of a customer: `<customer>#<label>` in text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineKey {
    /// Whose line.
    pub customer: CustomerId,
    /// Which of the customer's lines.
    pub label: LineLabel,
}

impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.customer, self.label)
    }
}

impl FromStr for LineKey {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let (c, l) = s.split_once('#').ok_or(InvalidId { what: "line key", rule: "customer#label" })?;
        Ok(Self { customer: c.parse()?, label: l.parse()? })
    }
}

/// A bought address at a provider: `<provider>/<ip>` in text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProxyId {
    /// Who sold it.
    pub provider: ProviderId,
    /// The address, in the provider's spelling.
    pub ip: String,
}

impl fmt::Display for ProxyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.ip)
    }
}

impl FromStr for ProxyId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        const BAD: InvalidId = InvalidId { what: "proxy id", rule: "provider/ip" };
        let (p, ip) = s.split_once('/').ok_or(BAD)?;
        if ip.is_empty() || ip.len() > 64 {
            return Err(BAD);
        }
        Ok(Self { provider: p.parse()?, ip: ip.to_owned() })
    }
}

/// One life of an edge process: `<edge>.<epoch>` in text. A restart is a new epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EdgeSession {
    /// Which edge.
    pub edge: EdgeId,
    /// Which life of it; grows with each start.
    pub epoch: u64,
}

impl fmt::Display for EdgeSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.edge, self.epoch)
    }
}

impl FromStr for EdgeSession {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        const BAD: InvalidId = InvalidId { what: "edge session", rule: "edge.epoch" };
        let (e, n) = s.split_once('.').ok_or(BAD)?;
        Ok(Self { edge: e.parse()?, epoch: n.parse().map_err(|_| BAD)? })
    }
}

impl TryFrom<String> for EdgeSession {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<EdgeSession> for String {
    fn from(v: EdgeSession) -> String {
        v.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_keep_their_rule() {
        assert!(CustomerId::new("demo_1").is_ok());
        for bad in ["", "Demo", "a-b", "a#b", &"x".repeat(33)] {
            assert!(CustomerId::new(bad).is_err(), "{bad}");
        }
        assert!(LineLabel::new("Chip.1_b").is_ok());
        assert!(LineLabel::new("x".repeat(65)).is_err());
        assert_eq!(CustomerId::new("A").unwrap_err().to_string(), "customer id must match [a-z0-9_]{1,32}");
    }

    #[test]
    fn compound_identifiers_round_trip() {
        let k: LineKey = "demo#chip1".parse().unwrap();
        assert_eq!(k.to_string(), "demo#chip1");
        let p: ProxyId = "brd/203.0.113.7".parse().unwrap();
        assert_eq!(p.to_string(), "brd/203.0.113.7");
        let s: EdgeSession = "edge1.7".parse().unwrap();
        assert_eq!((s.edge.as_str(), s.epoch), ("edge1", 7));
        assert_eq!(serde_json::to_string(&s).unwrap(), "\"edge1.7\"");
        assert!("edge1".parse::<EdgeSession>().is_err());
        assert!("edge1.x".parse::<EdgeSession>().is_err());
        assert!("nohash".parse::<LineKey>().is_err());
        assert!("p/".parse::<ProxyId>().is_err());
        assert!(serde_json::from_str::<CustomerId>("\"NO\"").is_err());
    }
}
