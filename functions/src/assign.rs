//! Story: a line asks for a proxy.
//!
//! Claim the line, then per country of the chain: recycle an idle address, else buy one. One
//! line has one open assignment; one idle address goes to one claimant; an answer that was lost
//! is never bought again. The walk's memory is in the store: the claim, the intents, and the
//! countries remembered as sold out. So a walk that runs out of time simply starts again.

pub(crate) mod buy;
mod first_look;
mod recycle;
mod session;
mod stale;
mod walk;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, AssignmentState, RefusalWire};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::username::Session;
use tollgate_store::StoreError;

pub(crate) use buy::{bought, idle};
use first_look::FirstLook;
pub(crate) use first_look::permitted;
use walk::Walk;

use crate::platform::Platform;

/// How long a claim stands: the story's own bound and a margin for its last writes.
const CLAIM_MARGIN: Duration = Duration::from_secs(10);
/// How often a walk starts again because the line changed under it.
const RESTARTS: u32 = 5;
/// Pause between two looks at a line that another attempt holds.
const PENDING_POLL: Duration = Duration::from_millis(50);

/// Gives `request.line` a proxy, or says why not. Safe to repeat: a line that has one keeps it.
pub async fn assign(platform: &Platform, request: AssignRequest) -> AssignReply {
    let result = Box::pin(run(platform, &request)).await;
    match result {
        Ok(assignment) => AssignReply::Bound { assignment: Box::new(assignment) },
        Err(Stop(refusal)) => {
            tracing::info!(
                line = %request.line, code = refusal.code.as_str(), detail = %refusal.detail,
                correlation_id = %request.correlation_id, "assign refused"
            );
            AssignReply::Refused { refusal: RefusalWire::from(&refusal) }
        }
    }
}

/// Ends the story with a refusal.
struct Stop(Refusal);

impl From<StoreError> for Stop {
    fn from(e: StoreError) -> Self {
        tracing::error!(error = %e, "assign: store failed");
        Self(Refusal::new(Code::StoreUnavailable, "the store did not answer in time").retry_after(2))
    }
}

impl From<Refusal> for Stop {
    fn from(r: Refusal) -> Self {
        Self(r)
    }
}

/// Where a walk goes next.
enum Next {
    /// The line has its proxy.
    Bound(Box<Assignment>),
    /// This country gave none.
    NotHere,
    /// The line changed: look again from the start.
    Restart,
}

async fn run(platform: &Platform, request: &AssignRequest) -> Result<Assignment, Stop> {
    let deadline = Instant::now() + platform.bounds.assign;
    if let Some(session) = Session::from_label(&request.line.label) {
        return Box::pin(session::assign(platform, request, &session)).await;
    }
    let mut waited = Duration::ZERO;
    for _ in 0..RESTARTS {
        let first = Box::pin(FirstLook::take(platform, request)).await?;
        let customer = first.customer(platform, request)?;
        let (requested, class) = first.asked(request, &customer)?;
        if let Some(found) = &first.assignment {
            match found.state {
                AssignmentState::Bound => return Ok(found.clone()),
                AssignmentState::Rebinding => {}
                AssignmentState::Pending if found.until < platform.now() => {
                    stale::resolve(platform, found).await?;
                }
                AssignmentState::Pending => match wait_for(platform, request, &mut waited).await? {
                    Some(bound) => return Ok(bound),
                    None => continue,
                },
            }
        }
        let mut walk = Walk::new(platform, request, deadline, customer, &first, requested, class)?;
        match Box::pin(walk.over_chain(first.free)).await {
            Ok(Next::Bound(a)) => {
                announce(platform, request, &a).await;
                return Ok(*a);
            }
            Ok(_) => {}
            Err(stop) => return Err(stop),
        }
    }
    Err(in_progress("the line kept changing", 1))
}

/// Waits until another attempt's claim is resolved: `None` when it is gone.
async fn wait_for(
    platform: &Platform,
    request: &AssignRequest,
    waited: &mut Duration,
) -> Result<Option<Assignment>, Stop> {
    while *waited < platform.bounds.pending_wait {
        tokio::time::sleep(PENDING_POLL).await;
        *waited += PENDING_POLL;
        match platform.store.assignment(&request.line).await? {
            Some(a) if a.state == AssignmentState::Bound => return Ok(Some(a)),
            Some(a) if a.state == AssignmentState::Pending => {}
            _ => return Ok(None),
        }
    }
    Err(in_progress("another request is finding a proxy for this line", 2))
}

fn in_progress(detail: &str, retry_after_s: u32) -> Stop {
    Refusal::new(Code::AssignInProgress, detail).retry_after(retry_after_s).into()
}

async fn announce(platform: &Platform, request: &AssignRequest, a: &Assignment) {
    let given = a.country.unwrap_or(a.requested);
    let proxy = a.proxy.as_ref().map(ToString::to_string).unwrap_or_default();
    let intent = a.hops.last().and_then(|h| h.intent.as_ref()).map(ToString::to_string);
    tracing::info!(
        line = %a.line, requested = %a.requested, given = %given, proxy = %proxy, intent = ?intent,
        hops = %walked(a), correlation_id = %request.correlation_id, "assigned"
    );
    let detail = json!({
        "line": a.line.to_string(), "customer": a.line.customer, "requested": a.requested, "given": given,
        "proxy": proxy, "hops": a.hops, "intent": intent, "fallback_used": a.fallback_used(),
        "correlation_id": request.correlation_id,
    });
    platform.emit("proxy.assigned", detail).await;
}

/// The walk in a few words: `be no_stock, nl bought`.
fn walked(a: &Assignment) -> String {
    let hops = a.hops.iter().map(|h| format!("{} {}", h.country, h.outcome));
    hops.collect::<Vec<_>>().join(", ")
}
