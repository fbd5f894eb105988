//! User names: `name(-key-value)*`, what a client asks for in the one field every proxy protocol
//! has.
//!
//! ```
//! use tollgate_domain::username::parse;
//! let asked = parse("demo-line-chip1-country-be")?;
//! assert_eq!(asked.name.as_str(), "demo");
//! assert_eq!(asked.line_label().as_str(), "chip1");
//! assert_eq!(parse("demo-country-be")?.line_label().as_str(), "default_be");
//! # Ok::<(), tollgate_domain::refusal::Refusal>(())
//! ```

use std::fmt;

use crate::country::Country;
use crate::id::{LineLabel, UserName};
use crate::proxy::ProxyClass;
use crate::refusal::{Code, Refusal};

mod parse;
mod session;
#[cfg(test)]
mod tests;

pub use parse::parse;
pub use session::Session;

/// Longest user name, in bytes (RFC 1929).
pub const MAX_LEN: usize = 255;
/// Longest life that can be asked for, in minutes.
pub const LIFE_MAX_MIN: u32 = 1440;
/// Minutes a session lives unless its user name says otherwise.
pub const LIFE_DEFAULT_MIN: u32 = 30;

/// What a user name asks for. A name has a line, a session or neither, never both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// Selects the credential.
    pub name: UserName,
    /// The line asked for by label.
    pub line: Option<LineLabel>,
    /// The session asked for.
    pub session: Option<Session>,
    /// The country asked for.
    pub country: Option<Country>,
    /// Minutes to live, 1–[`LIFE_MAX_MIN`]; none = [`LIFE_DEFAULT_MIN`] for a session.
    pub life_min: Option<u32>,
    /// The class asked for.
    pub class: Option<ProxyClass>,
}

impl UserSpec {
    /// What a name alone asks for: the default line.
    #[must_use]
    pub fn of(name: UserName) -> Self {
        Self { name, line: None, session: None, country: None, life_min: None, class: None }
    }

    /// The line this user name means: the one it names, its session's own, else `default_<cc>`
    /// with a country and `default` without.
    #[must_use]
    pub fn line_label(&self) -> LineLabel {
        match (&self.line, &self.session) {
            (Some(line), _) => line.clone(),
            (None, Some(session)) => session.label().clone(),
            (None, None) => LineLabel::of_country(self.country),
        }
    }
}

/// In the grammar, keys in the order line, session, country, life, type; [`parse`] reads it back.
impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(line) = &self.line {
            write!(f, "-line-{line}")?;
        }
        if let Some(session) = &self.session {
            write!(f, "-session-{session}")?;
        }
        if let Some(country) = self.country {
            write!(f, "-country-{country}")?;
        }
        if let Some(life) = self.life_min {
            write!(f, "-life-{life}")?;
        }
        if let Some(class) = self.class {
            write!(f, "-type-{}", class.as_str())?;
        }
        Ok(())
    }
}

/// The shortest user name that means this line, opened for `country`.
#[must_use]
pub fn user_name(name: &UserName, line: &LineLabel, country: Option<Country>) -> String {
    let session = Session::from_label(line);
    let named = session.is_none() && *line != LineLabel::of_country(country);
    let spec = UserSpec {
        name: name.clone(),
        line: named.then(|| line.clone()),
        session,
        country,
        life_min: None,
        class: None,
    };
    spec.to_string()
}

fn invalid(detail: impl fmt::Display) -> Refusal {
    Refusal::new(Code::UsernameInvalid, format!("{detail}; allowed keys: {}", parse::KEYS))
}
