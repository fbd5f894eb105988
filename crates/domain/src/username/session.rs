//! Sessions: short-lived lines that never own an address.

use std::fmt;

use crate::id::{InvalidId, LineLabel};

/// What every session's line label begins with. No line named in a user name may begin so: a
/// session must not turn into a line that buys an address.
const PREFIX: &str = "session.";
const RULE: InvalidId = InvalidId { what: "session", rule: "[A-Za-z0-9_.]{1,56}" };

/// A customer's own name of a session: `[A-Za-z0-9_.]{1,56}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session(LineLabel);

impl Session {
    /// The session of this name.
    ///
    /// # Errors
    /// [`InvalidId`] with the rule.
    pub fn new(id: &str) -> Result<Self, InvalidId> {
        if id.is_empty() {
            return Err(RULE);
        }
        LineLabel::new(format!("{PREFIX}{id}")).map(Self).map_err(|_| RULE)
    }

    /// The session that has this line; `None` if it is an ordinary line.
    #[must_use]
    pub fn from_label(label: &LineLabel) -> Option<Self> {
        Self::new(label.as_str().strip_prefix(PREFIX)?).ok()
    }

    /// The line of this session: `session.<name>`.
    #[must_use]
    pub fn label(&self) -> &LineLabel {
        &self.0
    }

    /// The name, as in the user name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().strip_prefix(PREFIX).unwrap_or_default()
    }

    /// Whether a line label is kept for sessions.
    pub(super) fn reserves(label: &LineLabel) -> bool {
        label.as_str().starts_with(PREFIX)
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
