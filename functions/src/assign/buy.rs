//! Buying: an intent before the call, its resolution after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tollgate_domain::assignment::{AssignmentState, Hop};
use tollgate_domain::country::{self, Country};
use tollgate_domain::id::IntentId;
use tollgate_domain::intent::{Intent, IntentState, PurchaseAnswer};
use tollgate_domain::provider::Provider;
use tollgate_domain::proxy::{HEALTH_MIN, ProxyIp, ProxyState, UpstreamKind};
use tollgate_domain::refusal::Code;
use tollgate_domain::time::Timestamp;
use tollgate_providers::{BuyOrder, ProxyMarket};
use tollgate_store::assignment::Claim;
use tollgate_store::intent::{Confirm, SpendCaps};

use super::{Next, Stop, Walk, in_progress};
use crate::platform::{Deferred, Platform};

/// When an unknown intent is looked at: soon, and once more.
const LOOKS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

impl Walk<'_> {
    /// Buys in `country` from the cheapest provider that will sell.
    pub(super) async fn buy(&mut self, country: Country) -> Result<Next, Stop> {
        if self.customer_cap {
            self.hop(country, None, "customer_spend_cap");
            return Ok(Next::NotHere);
        }
        if !country::supplied(country) {
            self.hop(country, None, "unsupplied");
            return Ok(Next::NotHere);
        }
        let mut sellers = self.providers.clone();
        sellers.retain(|p| {
            p.active
                && p.health >= HEALTH_MIN
                && p.class == self.claim.class
                && p.upstream == UpstreamKind::Exclusive
                && !self.excluded.contains(&p.id)
        });
        sellers.sort_by_key(|p| (p.price.micros, u8::MAX - p.health));
        if sellers.is_empty() {
            self.hop(country, None, "no_provider");
        }
        for provider in sellers {
            let sold_out = self.platform.store.out_of_stock(&provider.id, self.platform.now()).await?;
            if sold_out.contains(&country) {
                self.hop(country, Some(&provider), "no_stock_remembered");
                continue;
            }
            match Box::pin(self.buy_from(&provider, country)).await? {
                Next::NotHere => {}
                done => return Ok(done),
            }
            if self.customer_cap {
                break;
            }
        }
        Ok(Next::NotHere)
    }

    async fn buy_from(&mut self, provider: &Provider, country: Country) -> Result<Next, Stop> {
        // Made before the claim: a provider without a client costs the line nothing.
        let market = match self.platform.markets.market(provider).await {
            Ok(m) => m,
            Err(e) => {
                tracing::warn!(provider = %provider.id, error = %e, "no client for the provider");
                self.excluded.push(provider.id.clone());
                self.hop(country, Some(provider), "provider_misconfigured");
                return Ok(Next::NotHere);
            }
        };
        if self.remaining() < self.platform.bounds.purchase_needs {
            return Err(self.out_of_time().await);
        }
        let intent = match self.plan(provider, country).await? {
            Planned::Intent(i) => *i,
            Planned::Next(next) => return Ok(next),
        };
        let now = self.platform.now();
        let Some(intent) = self.platform.store.step_intent(&intent, IntentState::Calling, now, None).await? else {
            return Err(in_progress("this line's purchase was taken over", 2));
        };
        Box::pin(self.call(market, provider, intent)).await
    }

    /// Writes claim and intent, within the caps.
    async fn plan(&mut self, provider: &Provider, country: Country) -> Result<Planned, Stop> {
        let mut attempt = 0;
        loop {
            let now = self.platform.now();
            let Ok(id) = IntentId::new(crate::random::ulid(now)) else {
                return Err(in_progress("no intent id could be made", 1));
            };
            let intent = Intent {
                id: id.clone(),
                provider: provider.id.clone(),
                zone: provider.zone.clone(),
                country,
                line: self.claim.line.clone(),
                attempt: self.claim.attempt.clone(),
                price: provider.price,
                state: IntentState::Planned,
                planned_at: now,
                called_at: None,
                resolved_at: None,
                ip: None,
                reason: None,
                trail: vec![(IntentState::Planned, now)],
            };
            let caps = SpendCaps { provider: provider.spend_cap_day, customer: self.customer.limits.spend_day };
            self.claim.intent = Some(id);
            let claim = self.platform.store.claim_to_buy(&self.claim, self.found(), &intent, caps, now).await?;
            match claim {
                Claim::Won => {
                    self.claim_written();
                    return Ok(Planned::Intent(Box::new(intent)));
                }
                Claim::Conflict if Instant::now() < self.deadline => {
                    let ms = u64::from(crate::random::spread()) % (5 << attempt.min(4)) + 1;
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    attempt += 1;
                }
                Claim::Conflict => return Err(self.out_of_time().await),
                Claim::ProviderCap => {
                    self.hop(country, Some(provider), "provider_spend_cap");
                    return Ok(Planned::Next(Next::NotHere));
                }
                Claim::CustomerCap => {
                    self.customer_cap = true;
                    self.hop(country, Some(provider), "customer_spend_cap");
                    return Ok(Planned::Next(Next::NotHere));
                }
                other => {
                    let next = self.lost_claim(other).await?.unwrap_or(Next::Restart);
                    return Ok(Planned::Next(next));
                }
            }
        }
    }

    async fn call(&mut self, market: Arc<dyn ProxyMarket>, provider: &Provider, intent: Intent) -> Result<Next, Stop> {
        let order = BuyOrder { zone: intent.zone.clone(), country: intent.country, count: 1 };
        let within = self.platform.bounds.purchase_call.min(self.remaining());
        let answer = market.buy(order, within).await;
        tracing::info!(intent = %intent.id, provider = %provider.id, country = %intent.country, ?answer, "purchase");
        let now = self.platform.now();
        match answer {
            PurchaseAnswer::Bought { new_ips } => {
                let result = Box::pin(self.take_in(provider, &intent, new_ips)).await;
                if matches!(&result, Err(Stop(r)) if r.code == Code::StoreUnavailable) {
                    // Bought, and perhaps not noted: the list will tell.
                    look_again(self.platform, &intent).await;
                }
                result
            }
            PurchaseAnswer::NoStock { reason } => {
                let until = now.plus(self.platform.bounds.no_stock_memory);
                self.failed(provider, &intent, "no_stock", &reason, Some(until)).await
            }
            PurchaseAnswer::Refused { code, reason } => {
                self.excluded.push(provider.id.clone());
                self.failed(provider, &intent, code, &reason, None).await
            }
            PurchaseAnswer::Unknown { reason } => Err(self.lost_answer(&intent, reason).await),
        }
    }

    async fn failed(
        &mut self,
        provider: &Provider,
        intent: &Intent,
        outcome: &str,
        reason: &str,
        no_stock_until: Option<Timestamp>,
    ) -> Result<Next, Stop> {
        self.platform.store.fail_intent(intent, self.platform.now(), reason, no_stock_until).await?;
        self.claim.intent = None;
        self.claim.hops.push(Hop {
            country: intent.country,
            provider: Some(provider.id.clone()),
            outcome: outcome.to_owned(),
            intent: Some(intent.id.clone()),
        });
        Ok(Next::NotHere)
    }

    /// Makes one of the addresses ours. The provider's word is a claim: each is tried.
    async fn take_in(&mut self, provider: &Provider, intent: &Intent, new_ips: Vec<String>) -> Result<Next, Stop> {
        let store = &self.platform.store;
        let mut hops = self.claim.hops.clone();
        hops.push(Hop {
            country: intent.country,
            provider: Some(provider.id.clone()),
            outcome: "bought".to_owned(),
            intent: Some(intent.id.clone()),
        });
        for ip in new_ips {
            let now = self.platform.now();
            let proxy = bought(provider, intent, ip, now);
            match store.confirm_bound(intent, &proxy, &hops, now).await? {
                Confirm::Done => {
                    let mut bound = self.claim.clone();
                    bound.state = AssignmentState::Bound;
                    bound.ver += 1;
                    bound.country = Some(proxy.country);
                    bound.proxy = Some(proxy.id);
                    bound.bound_at = Some(now);
                    bound.intent = None;
                    bound.hops = hops;
                    return Ok(Next::Bound(Box::new(bound)));
                }
                Confirm::Taken => {}
                Confirm::Resolved => return self.resolved_elsewhere().await,
                Confirm::LineMoved => {
                    // The line was closed meanwhile: the address is paid for and goes to the pool.
                    let idle = idle(provider, proxy, now);
                    match store.confirm_idle(intent, &idle, now).await? {
                        Confirm::Taken => continue,
                        _ => return Err(in_progress("the line was closed while its proxy was bought", 1)),
                    }
                }
            }
        }
        Err(self.lost_answer(intent, "the answer names no address that is new".to_owned()).await)
    }

    /// Reconciliation was faster: what it bound is the answer.
    async fn resolved_elsewhere(&mut self) -> Result<Next, Stop> {
        match self.platform.store.assignment(&self.claim.line).await? {
            Some(a) if a.state == AssignmentState::Bound => Ok(Next::Bound(Box::new(a))),
            _ => Err(in_progress("this line's purchase was resolved elsewhere", 2)),
        }
    }

    /// The answer was lost: the claim stays, the list will tell.
    async fn lost_answer(&mut self, intent: &Intent, reason: String) -> Stop {
        let now = self.platform.now();
        if let Err(e) = self.platform.store.step_intent(intent, IntentState::Unknown, now, Some(reason)).await {
            return e.into();
        }
        look_again(self.platform, intent).await;
        in_progress("the provider's answer was lost; its list will tell", 10)
    }
}

enum Planned {
    Intent(Box<Intent>),
    Next(Next),
}

/// Asks for the looks at the provider's list that follow a lost answer.
pub(super) async fn look_again(platform: &Platform, intent: &Intent) {
    let now = platform.now();
    for wait in LOOKS {
        let not_before = now.plus(wait);
        platform.later.start(Deferred::Reconcile { provider: intent.provider.clone(), not_before }).await;
    }
}

/// The row of an address that `intent` bought.
pub(crate) fn bought(provider: &Provider, intent: &Intent, ip: String, now: Timestamp) -> ProxyIp {
    // Paid from the call on: the provider's clock started no later than ours says.
    let since = intent.called_at.unwrap_or(now);
    ProxyIp {
        id: tollgate_domain::id::ProxyId { provider: provider.id.clone(), ip },
        zone: intent.zone.clone(),
        country: intent.country,
        class: provider.class,
        state: ProxyState::Active,
        ver: 1,
        intent: Some(intent.id.clone()),
        line: Some(intent.line.clone()),
        price: intent.price,
        purchased_at: since,
        paid_until: provider.paid_until(since, now),
        idle_since: None,
        due: None,
        released_at: None,
        recycled: 0,
        release_failures: 0,
        health: 100,
    }
}

/// The same address, with nobody on it.
pub(crate) fn idle(provider: &Provider, mut proxy: ProxyIp, now: Timestamp) -> ProxyIp {
    proxy.state = ProxyState::Idle;
    proxy.idle_since = Some(now);
    proxy.due = Some(provider.due(now, proxy.paid_until));
    proxy
}
