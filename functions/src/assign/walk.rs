//! One attempt: over the chain of countries, and how it ends without a proxy.

use std::time::Duration;

use tokio::time::Instant;
use tollgate_domain::assignment::{AssignRequest, Assignment, AssignmentState, Hop};
use tollgate_domain::country::{self, Country};
use tollgate_domain::customer::Customer;
use tollgate_domain::id::{AttemptId, ProviderId, ProxyId};
use tollgate_domain::line::{Line, LineState};
use tollgate_domain::provider::Provider;
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_store::assignment::{Claim, Found, Opening};
use tollgate_store::proxy::FreeProxy;

use super::first_look::FirstLook;
use super::{CLAIM_MARGIN, Next, Stop, in_progress};
use crate::platform::{Deferred, Platform};

/// What one attempt knows. Filled by the first wave of reads.
pub(super) struct Walk<'a> {
    pub(super) platform: &'a Platform,
    pub(super) request: &'a AssignRequest,
    pub(super) deadline: Instant,
    pub(super) customer: Customer,
    pub(super) providers: Vec<Provider>,
    pub(super) claim: Assignment,
    /// What opening the line writes, until a claim wrote it.
    pub(super) opening: Option<Opening>,
    /// This attempt opened the line.
    pub(super) opened: bool,
    /// This attempt holds the claim.
    pub(super) claimed: bool,
    /// The customer's own last proxy was looked at.
    pub(super) returning: Option<ProxyId>,
    /// The country that the line asked for before.
    pub(super) asked_before: Option<Country>,
    /// Providers that refused for a reason that no other country changes.
    pub(super) excluded: Vec<ProviderId>,
    pub(super) customer_cap: bool,
}
impl<'a> Walk<'a> {
    pub(super) fn new(
        platform: &'a Platform,
        request: &'a AssignRequest,
        deadline: Instant,
        customer: Customer,
        first: &FirstLook,
        requested: Country,
        class: ProxyClass,
    ) -> Result<Self, Stop> {
        let now = platform.now();
        let attempt =
            AttemptId::new(crate::random::ulid(now)).map_err(|_| in_progress("no attempt id could be made", 1))?;
        let claim = Assignment {
            line: request.line.clone(),
            state: AssignmentState::Pending,
            attempt,
            until: now.plus(platform.bounds.assign + CLAIM_MARGIN),
            ver: 1,
            requested,
            class,
            country: None,
            proxy: None,
            kind: UpstreamKind::Exclusive,
            intent: None,
            hops: Vec::new(),
            since: now,
            bound_at: None,
        };
        let open = first.line.as_ref().is_some_and(|l| l.state == LineState::Open);
        let opening = (!open).then(|| opening(platform, request, &customer, first.line.as_ref(), requested, class));
        let returning = first.line.as_ref().and_then(|l| l.last_proxy.clone());
        Ok(Self {
            platform,
            request,
            deadline,
            customer,
            providers: first.providers.clone(),
            claim,
            opening,
            opened: false,
            claimed: false,
            returning,
            asked_before: first.line.as_ref().map(|l| l.country),
            excluded: Vec::new(),
            customer_cap: false,
        })
    }

    /// The countries to try: the asked one, then its chain.
    pub(super) async fn chain(&self) -> Result<Vec<Country>, Stop> {
        let asked = self.claim.requested;
        let mut chain = vec![asked];
        if self.customer.allow_fallback {
            let rest = match self.platform.store.fallback_override(asked).await? {
                Some(rest) => rest,
                None => country::chain(asked),
            };
            chain.extend(rest.into_iter().filter(|c| *c != asked).take(usize::from(self.customer.max_hops)));
        }
        Ok(chain)
    }

    pub(super) async fn over_chain(&mut self, first_free: Option<Vec<FreeProxy>>) -> Result<Next, Stop> {
        if let Some(next) = self.own_previous().await? {
            return Ok(next);
        }
        // The asked country is tried before the chain is read: most requests end here.
        let asked = self.claim.requested;
        let mut known = first_free.unwrap_or_default();
        // They were read before the line was: it may have meant another class.
        known.retain(|f| f.country == asked && f.class == self.claim.class);
        match self.recycle(asked, known).await? {
            Next::NotHere => {}
            done => return Ok(done),
        }
        let chain = self.chain().await?;
        for (n, country) in chain.into_iter().enumerate() {
            if n > 0 {
                match self.recycle(country, Vec::new()).await? {
                    Next::NotHere => {}
                    done => return self.finish(done).await,
                }
            }
            match Box::pin(self.buy(country)).await? {
                Next::NotHere => {}
                done => return self.finish(done).await,
            }
        }
        self.give_up().await?;
        Err(self.exhausted().into())
    }

    /// A walk that starts again gives up its claim first.
    async fn finish(&mut self, next: Next) -> Result<Next, Stop> {
        if matches!(next, Next::Restart) {
            self.give_up().await?;
        }
        Ok(next)
    }

    async fn give_up(&mut self) -> Result<(), Stop> {
        if self.claimed {
            self.platform.store.abandon_claim(&self.claim, self.opened, self.platform.now()).await?;
            self.claimed = false;
        }
        Ok(())
    }

    fn exhausted(&self) -> Refusal {
        let tried = self.claim.hops.iter().map(|h| match &h.provider {
            Some(p) => format!("{} ({p}): {}", h.country, h.outcome),
            None => format!("{}: {}", h.country, h.outcome),
        });
        let tried = tried.collect::<Vec<_>>().join(", ");
        if self.customer_cap {
            let cap = self.customer.limits.spend_day.map_or_else(String::new, |m| m.to_string());
            let detail = format!("today's purchases for this customer reached the plan's {cap}; tried {tried}");
            return Refusal::new(Code::SpendCap, detail);
        }
        Refusal::new(Code::NoProxyAvailable, format!("no proxy for {}: tried {tried}", self.claim.requested))
    }

    pub(super) fn hop(&mut self, country: Country, provider: Option<&Provider>, outcome: &str) {
        let provider = provider.map(|p| p.id.clone());
        self.claim.hops.push(Hop { country, provider, outcome: outcome.to_owned(), intent: None });
    }

    /// How the next claim finds the line.
    pub(super) fn found(&self) -> Found<'_> {
        match &self.opening {
            _ if self.claimed => Found::Claimed,
            Some(opening) => Found::Closed(opening),
            None => Found::Open,
        }
    }

    /// A claim that was written took the line's opening with it.
    pub(super) fn claim_written(&mut self) {
        self.claimed = true;
        if self.opening.take().is_some() {
            self.opened = true;
        }
    }

    /// What a claim that did not go through means for the walk; `None` = try something else.
    pub(super) async fn lost_claim(&mut self, claim: Claim) -> Result<Option<Next>, Stop> {
        match claim {
            Claim::LineTaken(other) if other.state == AssignmentState::Bound => Ok(Some(Next::Bound(other))),
            Claim::LineTaken(_) | Claim::LineChanged => Ok(Some(Next::Restart)),
            Claim::TooManyOpen => {
                let max = self.customer.limits.max_lines;
                let detail = format!("the plan {} allows {max} open lines", self.customer.plan);
                Err(Refusal::new(Code::LinesExceeded, detail).into())
            }
            Claim::Won | Claim::ProxyGone | Claim::Conflict | Claim::ProviderCap | Claim::CustomerCap => Ok(None),
        }
    }

    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Out of time: the same story goes on elsewhere, this caller comes back.
    pub(super) async fn out_of_time(&mut self) -> Stop {
        if let Err(stop) = self.give_up().await {
            return stop;
        }
        self.platform.later.start(Deferred::Assign { request: self.request.clone() }).await;
        in_progress("finding a proxy takes longer than this request may; it goes on", 5)
    }
}
fn opening(
    platform: &Platform,
    request: &AssignRequest,
    customer: &Customer,
    before: Option<&Line>,
    country: Country,
    class: ProxyClass,
) -> Opening {
    let now = platform.now();
    let mut line = Line {
        key: request.line.clone(),
        state: LineState::Open,
        country,
        class,
        hold: request.hold,
        alias: None,
        open: std::collections::BTreeMap::new(),
        close_due: None,
        ver: before.map_or(1, |l| l.ver + 1),
        last_proxy: before.and_then(|l| l.last_proxy.clone()),
        opened_at: now,
        closed_at: None,
    };
    // Nobody may ever open a tunnel on it: then it closes as if its last one had just ended.
    line.close_due = line.due_after_quiet(now);
    Opening { line, reopened: before.is_some(), max_open: customer.limits.max_lines }
}
