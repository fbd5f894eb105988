//! Story: a line asks for a proxy.
//!
//! Claim the line, then per country of the chain: recycle an idle address, else buy one. One
//! line has one open assignment; one idle address goes to one claimant; an answer that was lost
//! is never bought again. The walk's memory is in the store: the claim, the intents, and the
//! countries remembered as sold out. So a walk that runs out of time simply starts again.

pub(crate) mod buy;
mod recycle;
mod session;
mod stale;

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, AssignmentState, Hop, RefusalWire};
use tollgate_domain::country::{self, Country};
use tollgate_domain::customer::{Customer, Standing};
use tollgate_domain::id::AttemptId;
use tollgate_domain::line::{Line, LineState};
use tollgate_domain::provider::Provider;
use tollgate_domain::proxy::{ProxyClass, UpstreamKind};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::username::Session;
use tollgate_store::assignment::{Claim, Found, Opening};
use tollgate_store::{Store, StoreError};

pub(crate) use buy::{bought, idle};

use crate::platform::{Deferred, Platform};

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

/// What one attempt knows. Filled by the first wave of reads.
struct Walk<'a> {
    platform: &'a Platform,
    request: &'a AssignRequest,
    deadline: Instant,
    customer: Customer,
    providers: Vec<Provider>,
    claim: Assignment,
    /// What opening the line writes, until a claim wrote it.
    opening: Option<Opening>,
    /// This attempt opened the line.
    opened: bool,
    /// This attempt holds the claim.
    claimed: bool,
    /// The customer's own last proxy was looked at.
    returning: Option<tollgate_domain::id::ProxyId>,
    /// The country that the line asked for before.
    asked_before: Option<Country>,
    /// Providers that refused for a reason that no other country changes.
    excluded: Vec<tollgate_domain::id::ProviderId>,
    customer_cap: bool,
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
        let mut walk = Walk::new(platform, request, deadline, customer, &first, requested, class);
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

/// The first wave: everything that the decision needs, read at once.
struct FirstLook {
    customer: Option<Customer>,
    line: Option<Line>,
    assignment: Option<Assignment>,
    providers: Vec<Provider>,
    free: Option<Vec<tollgate_store::proxy::FreeProxy>>,
}

impl FirstLook {
    async fn take(platform: &Platform, request: &AssignRequest) -> Result<Self, StoreError> {
        let store: &Store = &platform.store;
        let free = async {
            match request.country {
                Some(c) => {
                    let class = request.class.unwrap_or_default();
                    store.free_proxies(c, class, crate::random::spread(), recycle::PAGE).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let (customer, line, assignment, providers, free) = tokio::try_join!(
            store.customer(&request.customer),
            store.line(&request.line),
            store.assignment(&request.line),
            store.providers(),
            free,
        )?;
        Ok(Self { customer, line, assignment, providers, free })
    }

    /// The customer, if it may have a line at all. The edge checked already; a cut-off edge may
    /// not know better, so it is checked again here.
    fn customer(&self, platform: &Platform, request: &AssignRequest) -> Result<Customer, Stop> {
        let Some(customer) = self.customer.clone() else {
            return Err(Refusal::new(Code::NotFound, format!("there is no customer {}", request.customer)).into());
        };
        if request.line.customer != request.customer {
            return Err(Refusal::new(Code::Forbidden, "the line belongs to another customer").into());
        }
        permitted(&customer, platform)?;
        Ok(customer)
    }

    /// The country and class that the line asks for.
    fn asked(&self, request: &AssignRequest, customer: &Customer) -> Result<(Country, ProxyClass), Stop> {
        let open = self.line.as_ref().filter(|l| l.state == LineState::Open);
        if let Some(line) = open {
            check_same(line, request)?;
            return Ok((line.country, line.class));
        }
        let before = self.line.as_ref();
        let country = request.country.or(before.map(|l| l.country)).or(customer.default_country);
        let Some(country) = country else {
            let detail = "a new line needs a country: the customer has no default country";
            return Err(Refusal::new(Code::CountryRequired, detail).into());
        };
        let class = request.class.or(before.map(|l| l.class)).unwrap_or_default();
        Ok((country, class))
    }
}

/// Refuses customers that may not pass.
pub(crate) fn permitted(customer: &Customer, platform: &Platform) -> Result<(), Refusal> {
    let now = platform.now();
    match customer.standing(now) {
        Standing::Active => Ok(()),
        Standing::Banned => Err(Refusal::new(Code::Banned, "the customer is banned")),
        Standing::Deleted => Err(Refusal::new(Code::NotFound, "the customer was deleted")),
        Standing::Expired { at } => Err(Refusal::new(Code::PlanExpired, format!("the plan ended at {at}"))),
        Standing::Locked { until } => {
            let secs = u32::try_from(until.since(now).as_secs() + 1).unwrap_or(u32::MAX);
            Err(Refusal::new(Code::LockedOut, format!("locked out until {until}")).retry_after(secs))
        }
    }
}

/// An open line keeps the country and class it asked for.
fn check_same(line: &Line, request: &AssignRequest) -> Result<(), Refusal> {
    if let Some(c) = request.country.filter(|c| *c != line.country) {
        let detail =
            format!("line {} asked for {} and is open; this request asks for {c}", line.key.label, line.country);
        return Err(Refusal::new(Code::LineMismatch, detail));
    }
    if let Some(c) = request.class.filter(|c| *c != line.class) {
        let (has, asks) = (line.class.as_str(), c.as_str());
        let detail = format!("line {} is of type {has} and is open; this request asks for {asks}", line.key.label);
        return Err(Refusal::new(Code::LineMismatch, detail));
    }
    Ok(())
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

impl<'a> Walk<'a> {
    fn new(
        platform: &'a Platform,
        request: &'a AssignRequest,
        deadline: Instant,
        customer: Customer,
        first: &FirstLook,
        requested: Country,
        class: ProxyClass,
    ) -> Self {
        let now = platform.now();
        let attempt = AttemptId::new(crate::random::ulid(now)).unwrap_or_else(|_| unreachable_attempt());
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
        Self {
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
        }
    }

    /// The countries to try: the asked one, then its chain.
    async fn chain(&self) -> Result<Vec<Country>, Stop> {
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

    async fn over_chain(&mut self, first_free: Option<Vec<tollgate_store::proxy::FreeProxy>>) -> Result<Next, Stop> {
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

    fn hop(&mut self, country: Country, provider: Option<&Provider>, outcome: &str) {
        let provider = provider.map(|p| p.id.clone());
        self.claim.hops.push(Hop { country, provider, outcome: outcome.to_owned(), intent: None });
    }

    /// How the next claim finds the line.
    fn found(&self) -> Found<'_> {
        match &self.opening {
            _ if self.claimed => Found::Claimed,
            Some(opening) => Found::Closed(opening),
            None => Found::Open,
        }
    }

    /// A claim that was written took the line's opening with it.
    fn claim_written(&mut self) {
        self.claimed = true;
        if self.opening.take().is_some() {
            self.opened = true;
        }
    }

    /// What a claim that did not go through means for the walk; `None` = try something else.
    async fn lost_claim(&mut self, claim: Claim) -> Result<Option<Next>, Stop> {
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

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Out of time: the same story goes on elsewhere, this caller comes back.
    async fn out_of_time(&mut self) -> Stop {
        if let Err(stop) = self.give_up().await {
            return stop;
        }
        self.platform.later.start(Deferred::Assign { request: self.request.clone() }).await;
        in_progress("finding a proxy takes longer than this request may; it goes on", 5)
    }
}

/// A ULID is always a valid attempt id; this is what a broken generator would leave us with.
fn unreachable_attempt() -> AttemptId {
    tracing::error!("a generated attempt id was not valid");
    "0".parse().unwrap_or_else(|_| std::process::abort())
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

async fn announce(platform: &Platform, request: &AssignRequest, a: &Assignment) {
    let given = a.country.unwrap_or(a.requested);
    let proxy = a.proxy.as_ref().map(ToString::to_string).unwrap_or_default();
    let intent = a.hops.last().and_then(|h| h.intent.as_ref()).map(ToString::to_string);
    tracing::info!(
        line = %a.line, requested = %a.requested, given = %given, proxy = %proxy, intent = ?intent,
        hops = ?a.hops, correlation_id = %request.correlation_id, "assigned"
    );
    let detail = json!({
        "line": a.line.to_string(), "customer": a.line.customer, "requested": a.requested, "given": given,
        "proxy": proxy, "hops": a.hops, "intent": intent, "fallback_used": a.fallback_used(),
        "correlation_id": request.correlation_id,
    });
    platform.emit("proxy.assigned", detail).await;
}
