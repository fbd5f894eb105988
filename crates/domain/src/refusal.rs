//! Every refusal of the product: one table for HTTP, SOCKS, API and UI.
//!
//! A [`Code`] is what programs match on; its row says the HTTP status, the `Proxy-Status` error
//! type (RFC 9209), whether it is a decision (policy) or a failure, and when to try again. The
//! words for people are in `messages`, by language.

use std::fmt;

use serde::{Deserialize, Serialize};

mod lang;
mod messages;
#[cfg(test)]
mod tests;

pub use lang::Lang;

/// What kind of answer a code is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The rules say no: SOCKS reply 0x02.
    Policy,
    /// It could not be done, or was asked wrongly: SOCKS reply 0x01.
    Failure,
}

/// The machine-readable half of a code.
struct Row {
    wire: &'static str,
    status: u16,
    proxy_status: &'static str,
    kind: Kind,
    retry_after_s: Option<u32>,
}

macro_rules! codes {
    ($($variant:ident $wire:literal $status:literal $proxy_status:ident $kind:ident $($retry:literal)?;)*) => {
        /// A stable code. Clients match on it; it never changes meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(
                #[doc = concat!("`", $wire, "`")]
                #[serde(rename = $wire)]
                $variant,
            )*
        }

        impl Code {
            /// Every code, in the table's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        wire: $wire,
                        status: $status,
                        proxy_status: stringify!($proxy_status),
                        kind: Kind::$kind,
                        retry_after_s: None$(.or(Some($retry)))?,
                    },)*
                }
            }
        }
    };
}

// code, as sent, HTTP status, RFC 9209 error type, kind, seconds after which to try again
codes! {
    // Said by an edge before it carries anything.
    AuthRequired "AUTH_REQUIRED" 407 http_request_denied Policy;
    AuthFailed "AUTH_FAILED" 407 http_request_denied Policy;
    IpNotAllowed "IP_NOT_ALLOWED" 403 http_request_denied Policy;
    Banned "BANNED" 403 http_request_denied Policy;
    LockedOut "LOCKED_OUT" 429 http_request_denied Policy 3600;
    PlanExpired "PLAN_EXPIRED" 402 http_request_denied Policy;
    QuotaExhausted "QUOTA_EXHAUSTED" 402 http_request_denied Policy;
    ThreadsExceeded "THREADS_EXCEEDED" 429 connection_limit_reached Policy 5;
    QpsExceeded "QPS_EXCEEDED" 429 http_request_denied Policy 1;
    IpLimit "IP_LIMIT" 429 connection_limit_reached Policy 5;
    DestBlocked "DEST_BLOCKED" 403 destination_ip_prohibited Policy;
    EdgeDraining "EDGE_DRAINING" 503 destination_unavailable Failure 5;
    Loop "LOOP" 508 proxy_loop_detected Failure;
    RequestInvalid "REQUEST_INVALID" 400 http_request_error Failure;
    HeaderTooLarge "HEADER_TOO_LARGE" 431 http_request_error Failure;
    MethodNotAllowed "METHOD_NOT_ALLOWED" 405 http_request_error Failure;

    // Said about the user name and the line it asks for.
    UsernameInvalid "USERNAME_INVALID" 400 http_request_error Failure;
    CountryUnknown "COUNTRY_UNKNOWN" 400 http_request_error Failure;
    CountryRequired "COUNTRY_REQUIRED" 400 http_request_error Failure;
    LineMismatch "LINE_MISMATCH" 409 http_request_denied Policy;
    LinesExceeded "LINES_EXCEEDED" 429 http_request_denied Policy 300;
    PlanFeature "PLAN_FEATURE" 403 http_request_denied Policy;
    AssignInProgress "ASSIGN_IN_PROGRESS" 503 destination_unavailable Failure 2;
    NoProxyAvailable "NO_PROXY_AVAILABLE" 503 destination_unavailable Failure 60;

    // Said about the proxy that should have carried the tunnel.
    UpstreamConnect "UPSTREAM_CONNECT" 502 connection_refused Failure 1;
    UpstreamTimeout "UPSTREAM_TIMEOUT" 504 connection_timeout Failure 1;
    UpstreamAuth "UPSTREAM_AUTH" 502 proxy_configuration_error Failure 60;

    // Said by the APIs.
    Validation "VALIDATION" 400 http_request_error Failure;
    BodyTooLarge "BODY_TOO_LARGE" 413 http_request_error Failure;
    Unauthenticated "UNAUTHENTICATED" 401 http_request_denied Policy;
    Forbidden "FORBIDDEN" 403 http_request_denied Policy;
    NotFound "NOT_FOUND" 404 http_request_error Failure;
    Conflict "CONFLICT" 409 http_request_error Failure;
    EdgeAlive "EDGE_ALIVE" 409 http_request_error Failure 15;
    IdempotencyMismatch "IDEMPOTENCY_MISMATCH" 422 http_request_error Failure;
    RateLimited "RATE_LIMITED" 429 http_request_denied Policy 1;

    // Said by the usage routes, in the spelling their clients know.
    ProxyUsage001 "PROXY_USAGE_001" 400 http_request_error Failure;
    ProxyUsage002 "PROXY_USAGE_002" 503 proxy_internal_error Failure 5;
    ProxyUsage003 "PROXY_USAGE_003" 500 proxy_internal_error Failure;

    // Said about providers and money.
    ProviderAuth "PROVIDER_AUTH" 502 proxy_configuration_error Failure;
    ProviderIpNotAllowlisted "PROVIDER_IP_NOT_ALLOWLISTED" 502 proxy_configuration_error Failure;
    ProviderNoStock "PROVIDER_NO_STOCK" 409 destination_unavailable Failure 60;
    ProviderBalance "PROVIDER_BALANCE" 502 proxy_configuration_error Failure;
    ProviderRateLimited "PROVIDER_RATE_LIMITED" 502 destination_unavailable Failure 30;
    ProviderRefused "PROVIDER_REFUSED" 502 proxy_configuration_error Failure;
    ProviderUnavailable "PROVIDER_UNAVAILABLE" 502 destination_unavailable Failure 30;
    SpendCap "SPEND_CAP" 402 http_request_denied Policy;
    PoolCapReached "POOL_CAP_REACHED" 409 http_request_denied Policy;
    NoNumbersAvailable "NO_NUMBERS_AVAILABLE" 503 destination_unavailable Failure 60;
    WebhookConfig "WEBHOOK_CONFIG" 502 proxy_configuration_error Failure;

    // Said by every part about itself.
    StoreUnavailable "STORE_UNAVAILABLE" 503 proxy_internal_error Failure 5;
    Internal "INTERNAL" 500 proxy_internal_error Failure;
}

impl Code {
    /// The code as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().wire
    }

    /// The code with exactly this spelling.
    #[must_use]
    pub fn parse(s: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.as_str() == s)
    }

    /// HTTP status, 400–599.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// Error type for the `error` parameter of `Proxy-Status` (RFC 9209 section 2.3).
    #[must_use]
    pub fn proxy_status(self) -> &'static str {
        self.row().proxy_status
    }

    /// Reply code in SOCKS5: 0x02 (not allowed by ruleset) for policy, 0x01 (general failure) else.
    #[must_use]
    pub fn socks_reply(self) -> u8 {
        match self.row().kind {
            Kind::Policy => 0x02,
            Kind::Failure => 0x01,
        }
    }

    /// Seconds after which trying again makes sense, where nothing better is known; `None` =
    /// trying again unchanged will not help.
    #[must_use]
    pub fn retry_after_default(self) -> Option<u32> {
        self.row().retry_after_s
    }

    /// What happened, in one sentence.
    #[must_use]
    pub fn message(self, lang: Lang) -> &'static str {
        messages::text(self, lang).message
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn how_to_fix(self, lang: Lang) -> &'static str {
        messages::text(self, lang).how_to_fix
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal: its code and what happened this time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What happened and the limit, for people; no secret.
    pub detail: String,
    /// Seconds after which it may be tried again.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// A refusal with the code's own retry time.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), retry_after_s: code.retry_after_default() }
    }

    /// The same, to be tried again after `seconds`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}
