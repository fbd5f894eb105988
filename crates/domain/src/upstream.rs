//! Upstreams as edges dial them: which protocol, and the user name a gateway is told.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::country::Country;

/// The protocol that an upstream proxy speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP proxy: CONNECT and absolute-form.
    #[default]
    Http,
    /// HTTP proxy behind TLS.
    Https,
    /// SOCKS5 proxy (RFC 1928, RFC 1929); names are passed to it unresolved.
    Socks5,
    /// No proxy: the edge dials the target itself.
    Direct,
}

impl Scheme {
    /// The word in URLs, rows and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
            Self::Direct => "direct",
        }
    }

    /// The scheme with this word; `socks5h` means `socks5`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "http" => Self::Http,
            "https" => Self::Https,
            "socks5" | "socks5h" => Self::Socks5,
            "direct" => Self::Direct,
            _ => return None,
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the fields of a user-name template stand for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The account's own user name.
    pub user: &'a str,
    /// The session: stable while the line keeps its address.
    pub session: &'a str,
    /// The country, lower case; none leaves the field empty.
    pub country: Option<Country>,
    /// Minutes that the session is to live.
    pub life_min: Option<u32>,
    /// The bought address.
    pub ip: &'a str,
}

/// Fills a user-name template: `{user}`, `{session}` (also `{chipId}`), `{country}`, `{life}` and
/// `{ip}`; anything else stays as it is.
///
/// ```
/// use tollgate_domain::upstream::{Facts, fill};
/// let facts = Facts { user: "smart", session: "chip1", ip: "203.0.113.7", ..Facts::default() };
/// assert_eq!(fill("{user}_session-{session}", &facts), "smart_session-chip1");
/// assert_eq!(fill("{user}-ip-{ip}-{what}", &facts), "smart-ip-203.0.113.7-{what}");
/// ```
#[must_use]
pub fn fill(template: &str, facts: &Facts<'_>) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        let Some(close) = rest.find('}') else { break };
        match &rest[1..close] {
            "user" => out.push_str(facts.user),
            "session" | "chipId" => out.push_str(facts.session),
            "country" => out.push_str(facts.country.map_or("", Country::as_str)),
            "life" => out.push_str(&facts.life_min.map_or_else(String::new, |m| m.to_string())),
            "ip" => out.push_str(facts.ip),
            _ => out.push_str(&rest[..=close]),
        }
        rest = &rest[close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_filled_and_nothing_else_is_touched() {
        let facts =
            Facts { user: "u", session: "s", country: Country::parse("BR"), life_min: Some(15), ip: "203.0.113.7" };
        assert_eq!(
            fill("smart-{user}_area-{country}_life-{life}_session-{chipId}", &facts),
            "smart-u_area-br_life-15_session-s"
        );
        assert_eq!(fill("{ip}{{ip}}{", &facts), "203.0.113.7{{ip}}{");
        assert_eq!(fill("{country}{life}", &Facts::default()), "");
    }

    #[test]
    fn schemes_round_trip() {
        for s in [Scheme::Http, Scheme::Https, Scheme::Socks5, Scheme::Direct] {
            assert_eq!(Scheme::parse(s.as_str()), Some(s));
        }
        assert_eq!(Scheme::parse("socks5h"), Some(Scheme::Socks5));
        assert_eq!(Scheme::parse("HTTP"), None);
    }
}
