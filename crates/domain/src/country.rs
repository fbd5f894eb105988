//! Countries: officially assigned ISO 3166-1 alpha-2 codes, lower case.

use serde::{Deserialize, Serialize};

/// A country.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// The country with this code or alias, in any case.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        let b = s.as_bytes();
        (b.len() == 2).then(|| Self([b[0].to_ascii_lowercase(), b[1].to_ascii_lowercase()]))
    }
    /// Two lower-case letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("zz")
    }
}
impl std::fmt::Display for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
impl TryFrom<String> for Country {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        Self::parse(&s).ok_or_else(|| format!("unknown country {s:?}"))
    }
}
impl From<Country> for String {
    fn from(c: Country) -> String {
        c.as_str().to_owned()
    }
}
