//! Countries: officially assigned ISO 3166-1 alpha-2 codes, lower case, and which countries stand
//! in for one that has no proxies.

use std::fmt;

use serde::{Deserialize, Serialize};

mod chain;
mod geo;
mod table;

pub use chain::{chain, supplied};
use table::TABLE;

/// A country. In text its lower-case code; order is order of code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country(u8);

/// Codes that are not assigned but in use for one that is.
const ALIASES: [(&str, &str); 3] = [("el", "gr"), ("uae", "ae"), ("uk", "gb")];

impl Country {
    /// The country with this code or alias, in any case.
    ///
    /// ```
    /// use tollgate_domain::country::Country;
    /// assert_eq!(Country::parse("UK"), Country::parse("gb"));
    /// assert_eq!(Country::parse("xx"), None);
    /// ```
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        if !(2..=3).contains(&s.len()) {
            return None;
        }
        let asked = s.to_ascii_lowercase();
        let code = ALIASES.iter().find(|(alias, _)| *alias == asked).map_or(asked.as_str(), |(_, code)| code);
        let at = TABLE.binary_search_by(|row| row.code.cmp(code)).ok()?;
        u8::try_from(at).ok().map(Self)
    }

    /// The code: two lower-case letters.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The short English name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Every country, in order of code.
    pub fn all() -> impl Iterator<Item = Self> {
        (0u8..).take(TABLE.len()).map(Self)
    }

    fn row(self) -> &'static geo::Row {
        &TABLE[usize::from(self.0)]
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A string that is neither a code nor an alias.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 3166-1 alpha-2 country code: {0:?}")]
pub struct UnknownCountry(String);

impl TryFrom<String> for Country {
    type Error = UnknownCountry;
    fn try_from(s: String) -> Result<Self, UnknownCountry> {
        Self::parse(&s).ok_or_else(|| UnknownCountry(s.chars().take(8).collect()))
    }
}

impl From<Country> for String {
    fn from(c: Country) -> String {
        c.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assigned_codes_are_known_in_any_case() {
        let all: Vec<_> = Country::all().collect();
        assert_eq!(all.len(), 249);
        assert!(all.windows(2).all(|w| w[0] < w[1] && w[0].as_str() < w[1].as_str()));
        for c in all {
            assert_eq!(Country::parse(c.as_str()), Some(c));
            assert_eq!(Country::parse(&c.as_str().to_uppercase()), Some(c));
            assert!(c.as_str().len() == 2 && c.as_str().bytes().all(|b| b.is_ascii_lowercase()));
            assert!(!c.name().is_empty() && c.name() == c.name().trim(), "{c}");
        }
    }

    #[test]
    fn aliases_mean_the_assigned_code() {
        for (alias, code) in
            [("uk", "gb"), ("UK", "gb"), ("UAE", "ae"), ("uae", "ae"), ("Uae", "ae"), ("el", "gr"), ("EL", "gr")]
        {
            assert_eq!(Country::parse(alias).map(Country::as_str), Some(code), "{alias}");
        }
        assert_eq!(Country::parse("gb").map(Country::name), Some("United Kingdom"));
    }

    #[test]
    fn everything_else_is_unknown() {
        for s in ["", "g", "zz", "xk", "eu", "an", "cs", "usa", "gbr", " gb", "gb ", "g\0", "é", "ü", "uaee", "美国"]
        {
            assert_eq!(Country::parse(s), None, "{s:?}");
        }
        for a in b'a'..=b'z' {
            for b in b'a'..=b'z' {
                let s = String::from_utf8(vec![a, b]).unwrap();
                let known = Country::all().any(|c| c.as_str() == s) || s == "uk" || s == "el";
                assert_eq!(Country::parse(&s).is_some(), known, "{s}");
            }
        }
    }

    #[test]
    fn in_json_a_country_is_its_lower_case_code() {
        let gb: Country = serde_json::from_str("\"UK\"").unwrap();
        assert_eq!(serde_json::to_string(&gb).unwrap(), "\"gb\"");
        assert_eq!(format!("{gb} {gb:?}"), "gb gb");
        let e = serde_json::from_str::<Country>("\"atlantis of the sea\"").unwrap_err().to_string();
        assert!(e.contains("not an ISO 3166-1 alpha-2 country code: \"atlantis\""), "{e}");
    }
}
