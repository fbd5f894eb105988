//! Every refusal of the product: one table for HTTP, SOCKS, API and UI.

use serde::{Deserialize, Serialize};

/// A stable code. Clients match on it; it never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// STORE_UNAVAILABLE
    StoreUnavailable,
}

impl Code {
    /// The code as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        "STORE_UNAVAILABLE"
    }

    /// The code with this spelling.
    #[must_use]
    pub fn parse(_s: &str) -> Option<Self> {
        None
    }
}

/// One refusal: its code and what happened this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What happened and the limit, for people; no secret.
    pub detail: String,
    /// Seconds after which it may be tried again.
    pub retry_after_s: Option<u32>,
}
