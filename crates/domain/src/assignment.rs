//! Assignments: which proxy serves a line, why, and how an edge asks for one.

use serde::{Deserialize, Serialize};

use crate::country::Country;
use crate::id::{AttemptId, CustomerId, IntentId, LineKey, ProviderId, ProxyId};
use crate::line::Hold;
use crate::proxy::{ProxyClass, UpstreamKind};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// Where an open assignment stands. A closed one is history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AssignmentState {
    /// An attempt holds the line's claim.
    Pending,
    /// A proxy serves the line.
    Bound,
    /// Its proxy was lost; the next attempt finds another.
    Rebinding,
}

/// What happened to one hop of the walk over the fallback chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The country tried.
    pub country: Country,
    /// The provider asked; none where no provider was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    /// What came of it: `recycled`, `bought`, `no_stock`, `no_stock_remembered`, `spend_cap` …
    pub outcome: String,
    /// The intent written for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentId>,
}

/// The open assignment of a line: the only pointer from a line to a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Which line.
    pub line: LineKey,
    /// Where it stands.
    pub state: AssignmentState,
    /// Who claimed the line.
    pub attempt: AttemptId,
    /// Until when the claim of a pending attempt stands.
    pub until: Timestamp,
    /// Counts writes.
    pub ver: u64,
    /// The country the line asked for.
    pub requested: Country,
    /// The class the line asked for.
    pub class: ProxyClass,
    /// The country it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<Country>,
    /// The proxy that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyId>,
    /// What owning the proxy means.
    pub kind: UpstreamKind,
    /// The purchase that this claim waits for: while it is not resolved, nobody buys again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<IntentId>,
    /// The walk so far, in order.
    #[serde(default)]
    pub hops: Vec<Hop>,
    /// When the line was claimed.
    pub since: Timestamp,
    /// When the proxy was bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_at: Option<Timestamp>,
}

impl Assignment {
    /// Whether another country than the one asked for serves the line.
    #[must_use]
    pub fn fallback_used(&self) -> bool {
        self.country.is_some_and(|c| c != self.requested)
    }
}

/// How an edge (or the API) asks for an assignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssignRequest {
    /// Whose line.
    pub customer: CustomerId,
    /// Which line.
    pub line: LineKey,
    /// The country asked for; none = the line's own, or the customer's default.
    #[serde(default)]
    pub country: Option<Country>,
    /// The class asked for; none = the line's own, or ISP.
    #[serde(default)]
    pub class: Option<ProxyClass>,
    /// How long a new line lives.
    pub hold: Hold,
    /// Correlation id of the request that caused this.
    pub correlation_id: String,
    /// The proxy that the line had and that its provider's gateway says is gone: another is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<ProxyId>,
}

/// A refusal that crosses a process border: what [`Refusal`] says, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalWire {
    /// The stable code.
    pub code: String,
    /// What happened, for people.
    pub detail: String,
    /// Seconds after which it may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl From<&Refusal> for RefusalWire {
    fn from(r: &Refusal) -> Self {
        Self { code: r.code.as_str().to_owned(), detail: r.detail.clone(), retry_after_s: r.retry_after_s }
    }
}

impl RefusalWire {
    /// The refusal, if its code is one of ours; anything else is `STORE_UNAVAILABLE`.
    #[must_use]
    pub fn into_refusal(self) -> Refusal {
        let code = Code::parse(&self.code).unwrap_or(Code::StoreUnavailable);
        Refusal { code, detail: self.detail, retry_after_s: self.retry_after_s }
    }
}

/// What `assign` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum AssignReply {
    /// The line has a proxy.
    Bound {
        /// The open assignment.
        assignment: Box<Assignment>,
    },
    /// It has none.
    Refused {
        /// Why, and what to do.
        refusal: RefusalWire,
    },
}
