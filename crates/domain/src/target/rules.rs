//! What one plan refuses beyond what an edge refuses to everybody.

use serde::{Deserialize, Serialize};

use super::{Host, Target, blocked, covers, parse_host};
use crate::refusal::Refusal;

/// Which targets a plan's customers may ask for. It only ever narrows: what the edge's own
/// [`Policy`](super::Policy) refuses stays refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetRules {
    /// The ports that may be asked for; empty = all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_ports: Vec<u16>,
    /// Ports refused, whether allowed above or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_ports: Vec<u16>,
    /// Names refused, each with everything below it; `*.` in front changes nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_names: Vec<String>,
}

/// A list of [`TargetRules`] that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    /// A list is longer than [`TargetRules::MAX`]; it is named.
    #[error("{0}: at most {max} entries", max = TargetRules::MAX)]
    TooMany(&'static str),
    /// A port is 0; its list is named.
    #[error("{0}: ports are 1 to 65535")]
    Port(&'static str),
    /// An entry is no name, in a short form of it.
    #[error("denied names: {0:?} is not a host name")]
    Name(String),
}

impl TargetRules {
    /// Most entries of each list.
    pub const MAX: usize = 64;

    /// Whether it refuses nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allowed_ports.is_empty() && self.denied_ports.is_empty() && self.denied_names.is_empty()
    }

    /// The same rules in order, without repetition, names in lower case.
    ///
    /// # Errors
    /// [`InvalidRules`].
    pub fn checked(mut self) -> Result<Self, InvalidRules> {
        for (list, ports) in [("allowed ports", &mut self.allowed_ports), ("denied ports", &mut self.denied_ports)] {
            if ports.len() > Self::MAX {
                return Err(InvalidRules::TooMany(list));
            }
            if ports.contains(&0) {
                return Err(InvalidRules::Port(list));
            }
            ports.sort_unstable();
            ports.dedup();
        }
        if self.denied_names.len() > Self::MAX {
            return Err(InvalidRules::TooMany("denied names"));
        }
        self.denied_names = self.denied_names.iter().map(|n| name(n)).collect::<Result<_, _>>()?;
        self.denied_names.sort_unstable();
        self.denied_names.dedup();
        Ok(self)
    }

    /// Whether `target` may be asked for. Names are judged as names, unresolved; an address has none.
    ///
    /// # Errors
    /// `DEST_BLOCKED` with what is not allowed.
    pub fn check(&self, target: &Target) -> Result<(), Refusal> {
        let port = target.port;
        if self.denied_ports.contains(&port) || !self.allowed_ports.is_empty() && !self.allowed_ports.contains(&port) {
            return Err(blocked(format!("the plan does not allow port {port}")));
        }
        let Host::Name(name) = &target.host else { return Ok(()) };
        match self.denied_names.iter().find(|rule| covers(rule, name)) {
            Some(rule) => Err(blocked(format!("the plan does not allow names at or below {rule:?}"))),
            None => Ok(()),
        }
    }
}

fn name(text: &str) -> Result<String, InvalidRules> {
    const SHOWN: usize = 40;
    match parse_host(text.strip_prefix("*.").unwrap_or(text)) {
        Ok(Host::Name(name)) => Ok(name),
        _ => Err(InvalidRules::Name(text.chars().take(SHOWN).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Code;
    use crate::target::parse_authority;

    fn rules(allowed: &[u16], denied: &[u16], names: &[&str]) -> TargetRules {
        TargetRules {
            allowed_ports: allowed.to_vec(),
            denied_ports: denied.to_vec(),
            denied_names: names.iter().map(|n| (*n).to_owned()).collect(),
        }
    }

    fn allows(rules: &TargetRules, target: &str) -> bool {
        match rules.check(&parse_authority(target).unwrap()) {
            Ok(()) => true,
            Err(e) => {
                assert_eq!(e.code, Code::DestBlocked);
                false
            }
        }
    }

    #[test]
    fn rules_that_say_nothing_refuse_nothing_and_are_not_stored() {
        let none = TargetRules::default();
        assert!(none.is_empty() && allows(&none, "example.com:443") && allows(&none, "1.1.1.1:25"));
        assert_eq!(serde_json::to_string(&none).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<TargetRules>("{}").unwrap(), none);
    }

    #[test]
    fn ports_and_names_are_refused_on_every_host() {
        let web = rules(&[80, 443, 8443], &[8443], &["bad.example"]);
        for (target, ok) in [
            ("example.com:80", true),
            ("1.1.1.1:443", true),
            ("[2606:4700::1]:443", true),
            ("example.com:81", false),
            ("1.1.1.1:22", false),
            ("example.com:8443", false),
            ("bad.example:443", false),
            ("WWW.Bad.Example.:443", false),
            ("notbad.example:443", true),
            ("bad.example.com:443", true),
        ] {
            assert_eq!(allows(&web, target), ok, "{target}");
        }
        let but_one = rules(&[], &[6881], &[]);
        assert!(allows(&but_one, "example.com:1") && allows(&but_one, "example.com:65535"));
        assert!(!allows(&but_one, "example.com:6881"));
    }

    #[test]
    fn rules_are_put_in_order_or_refused() {
        let written = rules(&[443, 80, 443], &[25, 25], &["*.Bad.Example.", "a.example", "bad.example"]);
        assert_eq!(written.checked().unwrap(), rules(&[80, 443], &[25], &["a.example", "bad.example"]));
        let full: Vec<u16> = (1..=64).collect();
        assert!(rules(&full, &full, &[]).checked().is_ok());
        let over: Vec<u16> = (1..=65).collect();
        assert_eq!(rules(&over, &[], &[]).checked(), Err(InvalidRules::TooMany("allowed ports")));
        assert_eq!(rules(&[], &over, &[]).checked(), Err(InvalidRules::TooMany("denied ports")));
        assert_eq!(rules(&[], &[], &["a.example"; 65]).checked(), Err(InvalidRules::TooMany("denied names")));
        assert_eq!(rules(&[], &[0], &[]).checked(), Err(InvalidRules::Port("denied ports")));
        for bad in ["", "*", "*.", ".", "a b", "127.0.0.1", "[::1]", "0x7f.1", "*.*.example", "a/b", "é.example"] {
            assert!(matches!(rules(&[], &[], &[bad]).checked(), Err(InvalidRules::Name(_))), "{bad}");
        }
        let long = "x".repeat(100_000);
        assert_eq!(rules(&[], &[], &[&long]).checked(), Err(InvalidRules::Name("x".repeat(40))));
    }
}
