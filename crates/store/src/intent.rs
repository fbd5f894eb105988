//! Purchase intents: `INT#<id>`, the list of those still open per provider, and the spending
//! that they hold.
//!
//! Spending is a Budget: the cap is a condition of the transaction that plans, and only a
//! purchase that is proven not to have happened gives it back.

use tollgate_domain::country::Country;
use tollgate_domain::id::{CustomerId, IntentId, ProviderId};
use tollgate_domain::intent::{Intent, IntentState};
use tollgate_domain::money::Money;
use tollgate_domain::proxy::ProxyIp;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::item::{Key, decode, encode, n, s, sort_key, value};
use crate::proxy::{free_entries, own};
use crate::tables::TTL;
use crate::{Store, StoreError, Table, keys};

/// The caps that a purchase must fit, on the UTC day of its planning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendCaps {
    /// Of the provider, per day.
    pub provider: Option<Money>,
    /// Of the customer, per day.
    pub customer: Option<Money>,
}

/// How giving a bought address to its intent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It is ours, and the intent is confirmed (now or earlier).
    Done,
    /// The address belongs to somebody already: try the next one.
    Taken,
    /// The intent is resolved otherwise.
    Resolved,
    /// The line's claim is gone: the address has to go idle.
    LineMoved,
}

/// The writes that count `price` against a day's spending, within `cap`.
fn spend(key: Key, price: Money, cap: Option<Money>) -> Write {
    let write = Write::update(key, "ADD spent :c").value(":c", n(price.micros));
    match cap.filter(|c| c.currency == price.currency) {
        None => write,
        Some(cap) => match cap.micros.checked_sub(price.micros) {
            Some(room) => write.when("attribute_not_exists(spent) OR spent <= :room").value(":room", n(room)),
            // One address costs more than the cap: never true.
            None => write.when("spent < :never").value(":never", n(0)),
        },
    }
}

fn give_back(key: Key, price: Money) -> Write {
    Write::update(key, "ADD spent :c").value(":c", n(format!("-{}", price.micros)))
}

/// The writes that plan `intent`: row, open entry, provider's and customer's spending, in this
/// order.
pub(crate) fn plan(intent: &Intent, caps: SpendCaps) -> Result<[Write; 4], Failure> {
    let key = keys::intent(&intent.id);
    let open = keys::open_intent(&intent.provider, &intent.id);
    let day = intent.planned_at.day();
    let row = encode(&key, intent, None)?;
    let entry = open.attributes();
    Ok([
        Write::put(key, row).when(ABSENT),
        Write::put(open, entry),
        spend(keys::provider_spend(&intent.provider, &day), intent.price, caps.provider),
        spend(keys::customer_spend(&intent.line.customer, &day), intent.price, caps.customer),
    ])
}

/// The write that moves `intent` (already stepped by the machine) on from `from`.
fn step(intent: &Intent, from: IntentState) -> Result<Write, Failure> {
    let key = keys::intent(&intent.id);
    let item = encode(&key, intent, None)?;
    Ok(Write::put(key, item).when("#state = :from").name("#state", "state").value(":from", value(&from)?))
}

/// The machine's step as a failure of the store: it is a bug of the caller, not of the data.
fn illegal(e: tollgate_domain::intent::IllegalStep) -> StoreError {
    StoreError::Corrupt { key: "intent".to_owned(), why: e.to_string() }
}

impl Store {
    /// An intent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn intent(&self, id: &IntentId) -> Result<Option<Intent>, StoreError> {
        self.read(&keys::intent(id)).await
    }

    /// Intents of a provider that are not resolved, in order of planning.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_intents(&self, provider: &ProviderId) -> Result<Vec<Intent>, StoreError> {
        let entries = self.query_prefix(Table::Inventory, &keys::open_intents(provider), "").await?;
        let mut intents = Vec::new();
        for entry in entries {
            let Ok(id) = sort_key(&entry).parse() else { continue };
            intents.extend(self.intent(&id).await?);
        }
        Ok(intents)
    }

    /// Moves an intent to a state that is not final (`calling`, `unknown`), if it is still in
    /// the state it was read in. `None`: it moved on.
    ///
    /// # Errors
    /// [`StoreError`], also for a step that the machine does not have.
    pub async fn step_intent(
        &self,
        intent: &Intent,
        to: IntentState,
        now: Timestamp,
        reason: Option<String>,
    ) -> Result<Option<Intent>, StoreError> {
        let mut next = intent.clone();
        next.step(to, now, reason).map_err(illegal)?;
        match self.write(|| step(&next, intent.state)).await {
            Ok(_) => Ok(Some(next)),
            Err(Failure::Condition(failed)) => {
                // Our own write whose acknowledgement was lost.
                let old = failed.into_iter().find_map(|(_, item)| item).map(decode::<Intent>).transpose()?;
                Ok(old.filter(|i| i == &next))
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// `→ failed`: nothing was bought, so its spending is given back; with `no_stock_until`, the
    /// country is remembered as sold out. `false`: it moved on.
    ///
    /// # Errors
    /// [`StoreError`], also for a step that the machine does not have.
    pub async fn fail_intent(
        &self,
        intent: &Intent,
        now: Timestamp,
        reason: &str,
        no_stock_until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let mut next = intent.clone();
        next.step(IntentState::Failed, now, Some(reason.to_owned())).map_err(illegal)?;
        let day = intent.planned_at.day();
        let result = self
            .transact(|| {
                let mut writes = vec![
                    step(&next, intent.state)?,
                    Write::delete(keys::open_intent(&intent.provider, &intent.id)),
                    give_back(keys::provider_spend(&intent.provider, &day), intent.price),
                    give_back(keys::customer_spend(&intent.line.customer, &day), intent.price),
                ];
                if let Some(until) = no_stock_until {
                    let key = keys::no_stock(&intent.provider, intent.country);
                    let mut item = key.attributes();
                    item.insert(TTL.to_owned(), n(until.as_secs()));
                    writes.push(Write::put(key, item));
                }
                Ok(writes)
            })
            .await;
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(failed)) => {
                let old = failed.into_iter().find_map(|(_, item)| item).map(decode::<Intent>).transpose()?;
                Ok(old.is_some_and(|i| i == next))
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// `→ confirmed` by `proxy`, and binds it to the intent's line, whose claim must still be
    /// pending for the intent's attempt.
    ///
    /// # Errors
    /// [`StoreError`], also for a step that the machine does not have.
    pub async fn confirm_bound(
        &self,
        intent: &Intent,
        proxy: &ProxyIp,
        hops: &[tollgate_domain::assignment::Hop],
        now: Timestamp,
    ) -> Result<Confirm, StoreError> {
        self.confirm(intent, proxy, Some(hops), now).await
    }

    /// `→ confirmed` by `proxy`, which goes to the free list: its line does not wait for it any
    /// more.
    ///
    /// # Errors
    /// [`StoreError`], also for a step that the machine does not have.
    pub async fn confirm_idle(&self, intent: &Intent, proxy: &ProxyIp, now: Timestamp) -> Result<Confirm, StoreError> {
        self.confirm(intent, proxy, None, now).await
    }

    async fn confirm(
        &self,
        intent: &Intent,
        proxy: &ProxyIp,
        bind: Option<&[tollgate_domain::assignment::Hop]>,
        now: Timestamp,
    ) -> Result<Confirm, StoreError> {
        let mut next = intent.clone();
        next.step(IntentState::Confirmed, now, None).map_err(illegal)?;
        next.ip = Some(proxy.id.ip.clone());
        let result = self
            .transact(|| {
                let mut writes = vec![
                    own(proxy)?,
                    step(&next, intent.state)?,
                    Write::delete(keys::open_intent(&intent.provider, &intent.id)),
                ];
                match bind {
                    Some(hops) => writes.push(bind_pending(intent, proxy, hops, now)?),
                    None => {
                        let since = proxy.idle_since.unwrap_or(now);
                        writes.extend(free_entries(proxy, since, proxy.due.unwrap_or(now))?);
                    }
                }
                Ok(writes)
            })
            .await;
        match result {
            Ok(()) => Ok(Confirm::Done),
            Err(Failure::Condition(failed)) => {
                let stored = self.intent(&intent.id).await?;
                if stored.as_ref().is_some_and(|i| i.state == IntentState::Confirmed && i.ip == next.ip) {
                    return Ok(Confirm::Done);
                }
                if stored.is_none_or(|i| i.state.is_final() || i.state != intent.state) {
                    return Ok(Confirm::Resolved);
                }
                let first = failed.first().map_or(0, |(at, _)| *at);
                Ok(if first == 0 { Confirm::Taken } else { Confirm::LineMoved })
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// What was spent at `provider` and for `customer` on the UTC day of `now`, in micro-units.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn spent(
        &self,
        provider: &ProviderId,
        customer: &CustomerId,
        now: Timestamp,
    ) -> Result<(u64, u64), StoreError> {
        let day = now.day();
        let read = |item: Option<crate::item::Item>| {
            let number = item.and_then(|i| i.get("spent")?.as_n().ok()?.parse().ok());
            number.unwrap_or(0)
        };
        let p = self.read_item(&keys::provider_spend(provider, &day)).await?;
        let c = self.read_item(&keys::customer_spend(customer, &day)).await?;
        Ok((read(p), read(c)))
    }

    /// The countries tried instead of `country`, if an operator overrode the chain.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fallback_override(&self, country: Country) -> Result<Option<Vec<Country>>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Override {
            chain: Vec<Country>,
        }
        Ok(self.read::<Override>(&keys::fallback(country)).await?.map(|o| o.chain))
    }
}

/// The write that turns the pending claim of `intent` into an assignment of `proxy`.
fn bind_pending(
    intent: &Intent,
    proxy: &ProxyIp,
    hops: &[tollgate_domain::assignment::Hop],
    now: Timestamp,
) -> Result<Write, Failure> {
    Ok(Write::update(
        keys::assignment(&intent.line),
        "SET #state = :bound, ver = ver + :one, country = :cc, proxy = :proxy, hops = :hops, bound_at = :now \
         REMOVE intent",
    )
    .when("#state = :pending AND attempt = :attempt")
    .name("#state", "state")
    .value(":bound", s("bound"))
    .value(":pending", s("pending"))
    .value(":attempt", s(&intent.attempt))
    .value(":one", n(1))
    .value(":cc", s(proxy.country))
    .value(":proxy", value(&proxy.id)?)
    .value(":hops", value(&hops)?)
    .value(":now", n(now.as_millis())))
}
