//! Allowances: `ALLOW#<customer> / <bucket>`, the bytes of one bucket and who holds them.
//!
//! The transitions are those of [`Allowance`], as conditional writes. A lease has one writer, its
//! edge session, and each of its writes names the sequence `k` it follows: a write whose answer
//! was lost finds `k + 1` and knows itself again, so every transition may be repeated.

mod rebalance;

use serde::{Deserialize, Serialize};
use tollgate_domain::budget::{Allowance, Bucket, Lease, LeaseState};
pub use tollgate_domain::budget::{Close, Closing, Take};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{Item, decode, encode, n, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// Bytes added to a bucket, and the bucket's terms if it is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What granted them, unique per customer: a plan's period, a pack.
    pub source: String,
    /// How many.
    pub bytes: u64,
    /// Version of the plan that granted.
    pub plan_ver: u32,
    /// From when the bucket may be spent.
    pub spend_from: Timestamp,
    /// Until when it may be spent (exclusive).
    pub spend_until: Timestamp,
}

/// A grant as it is kept in `billing`.
#[derive(Serialize)]
struct GrantRow<'a> {
    #[serde(flatten)]
    grant: &'a Grant,
    bucket: &'a Bucket,
    at: Timestamp,
}

/// A bucket that an edge session has, or is about to take, a lease of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rostered {
    /// Whose bucket.
    pub customer: CustomerId,
    /// Which.
    pub bucket: Bucket,
}

#[derive(Serialize)]
struct Empty {}

/// What a lease's first take writes.
fn first(taken: u64) -> Lease {
    Lease { taken, settled: 0, doubt: 0, seq: 1, state: LeaseState::Open }
}

impl Store {
    /// All buckets of a customer, in order of spending.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn allowances(&self, customer: &CustomerId) -> Result<Vec<(Bucket, Allowance)>, StoreError> {
        let mut buckets = Vec::new();
        for item in self.query_prefix(Table::Usage, &keys::allowances(customer), "").await? {
            buckets.push((bucket_of(&item)?, decode(item)?));
        }
        buckets.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(buckets)
    }

    /// Takes `bytes` more and settles the lease at `settled` (cumulative), if the lease is open,
    /// at `seq`, and the bucket has them available. The first take of a session has `seq` 0 and
    /// makes the lease. With 0 bytes it only settles.
    ///
    /// A failed condition reads as the other variants of [`Take`]; a lease at `seq + 1` settled
    /// at `settled` is this write, applied earlier.
    ///
    /// # Errors
    /// [`StoreError`]; repeat with the same arguments.
    pub async fn take(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        session: &EdgeSession,
        bytes: u64,
        settled: u64,
        seq: u64,
    ) -> Result<Take, StoreError> {
        let key = keys::allowance(customer, bucket);
        if seq == 0 && settled != 0 {
            // A lease that is not made yet has settled nothing: there is nothing to write.
            let found: Option<Allowance> = self.read(&key).await?;
            return Ok(found.map_or(Take::NoBucket, |a| a.refused_take(session, bytes, settled, seq)));
        }
        let write = || {
            let w = if seq == 0 {
                Write::update(key.clone(), "SET available = available - :n, #L.#e = :lease")
                    .when("attribute_not_exists(#L.#e) AND available >= :n")
                    .value(":lease", value(&first(bytes))?)
            } else {
                Write::update(
                    key.clone(),
                    "SET available = available - :n, #L.#e.t = #L.#e.t + :n, #L.#e.s = :s, #L.#e.k = :next",
                )
                .when("#L.#e.st = :open AND #L.#e.k = :k AND available >= :n AND #L.#e.s <= :s AND #L.#e.t >= :least")
                .value(":s", n(settled))
                .value(":k", n(seq))
                .value(":next", n(seq + 1))
                // s ≤ t + n, without a sum in the condition; an open lease has no doubt.
                .value(":least", n(settled.saturating_sub(bytes)))
                .value(":open", value(&LeaseState::Open)?)
            };
            Ok(lease_names(w, session).value(":n", n(bytes)))
        };
        let done = self.write(write).await;
        answer(done, session, |old| old.refused_take(session, bytes, settled, seq))
    }

    /// Ends a session's lease if it is open, at `seq`, and holds `taken`: what was settled or is
    /// in doubt is folded, the rest becomes available. A lease that is not there was closed by an
    /// earlier attempt.
    ///
    /// # Errors
    /// [`StoreError`]; repeat with the same arguments.
    pub async fn close_lease(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        session: &EdgeSession,
        last: Closing,
    ) -> Result<Close, StoreError> {
        let Some(used) = last.used() else { return Ok(Close::Overspent) };
        let key = keys::allowance(customer, bucket);
        let write = || {
            let w =
                Write::update(key.clone(), "SET available = available + :back, folded = folded + :used REMOVE #L.#e")
                    .when("#L.#e.st = :open AND #L.#e.k = :k AND #L.#e.t = :t AND #L.#e.s <= :s")
                    .value(":back", n(last.taken - used))
                    .value(":used", n(used))
                    .value(":k", n(last.seq))
                    .value(":t", n(last.taken))
                    .value(":s", n(last.settled))
                    .value(":open", value(&LeaseState::Open)?);
            Ok(lease_names(w, session))
        };
        match self.write(write).await {
            Ok(_) => Ok(Close::Closed),
            Err(Failure::Condition(old)) => {
                let Some(item) = old_item(old) else { return Ok(Close::Closed) };
                Ok(decode::<Allowance>(item)?.refused_close(session, last))
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// Adds a grant to a bucket, making the bucket if there is none, unless the same source was
    /// granted before. `true` if it was added now.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn grant(
        &self,
        customer: &CustomerId,
        bucket: &Bucket,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let row_key = keys::grant(customer, &grant.source);
        let writes = || {
            let row = encode(&row_key, &GrantRow { grant, bucket, at: now }, None)?;
            let add = Write::update(
                keys::allowance(customer, bucket),
                "SET granted = if_not_exists(granted, :zero) + :n, available = if_not_exists(available, :zero) + :n, \
                 folded = if_not_exists(folded, :zero), plan_ver = :ver, #L = if_not_exists(#L, :none), \
                 spend_from = if_not_exists(spend_from, :from), spend_until = if_not_exists(spend_until, :until)",
            )
            .name("#L", "L")
            .value(":zero", n(0))
            .value(":n", n(grant.bytes))
            .value(":ver", n(grant.plan_ver))
            .value(":none", value(&Empty {})?)
            .value(":from", value(&grant.spend_from)?)
            .value(":until", value(&grant.spend_until)?);
            let told = announce(&Entity::Allowance(customer.clone()), now.as_millis(), now)?;
            Ok(vec![Write::put(row_key.clone(), row).when(ABSENT), add, told])
        };
        match self.transact(writes).await {
            Ok(()) => Ok(true),
            Err(Failure::Condition(c)) if c.iter().any(|(at, _)| *at == 0) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Notes that `session` is about to take a lease. Before the first take, so that recovery
    /// finds every lease.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn roster_add(&self, session: &EdgeSession, entry: &Rostered) -> Result<(), StoreError> {
        let key = keys::roster(session, &entry.customer, &entry.bucket);
        let write = || Ok(Write::put(key.clone(), key.attributes()));
        self.write(write).await.map(|_| ()).map_err(Failure::into_store)
    }

    /// What `session` may hold leases of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn roster(&self, session: &EdgeSession) -> Result<Vec<Rostered>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::roster_list(session), "").await?;
        // The roster also lists lines: what does not name a bucket is not ours.
        Ok(items.iter().filter_map(rostered).collect())
    }

    /// The buckets of one customer that `session` may hold leases of.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn roster_of(&self, session: &EdgeSession, customer: &CustomerId) -> Result<Vec<Bucket>, StoreError> {
        let prefix = keys::roster_prefix(customer);
        let items = self.query_prefix(Table::Usage, &keys::roster_list(session), &prefix).await?;
        Ok(items.iter().filter_map(rostered).filter(|r| r.customer == *customer).map(|r| r.bucket).collect())
    }

    /// Strikes a closed lease off the roster.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn roster_remove(&self, session: &EdgeSession, entry: &Rostered) -> Result<(), StoreError> {
        let key = keys::roster(session, &entry.customer, &entry.bucket);
        let write = || Ok(Write::delete(key.clone()));
        self.write(write).await.map(|_| ()).map_err(Failure::into_store)
    }
}

/// What a write of a lease came to; `refused` reads the old item if its condition did not hold.
fn answer(
    done: Result<Option<Item>, Failure>,
    session: &EdgeSession,
    refused: impl FnOnce(&Allowance) -> Take,
) -> Result<Take, StoreError> {
    match done {
        Ok(new) => {
            let allowance: Allowance = decode(new.unwrap_or_default())?;
            let lease = allowance.leases.get(session).cloned();
            Ok(lease.map_or(Take::NoLease, |lease| Take::Taken { lease, available: allowance.available }))
        }
        Err(Failure::Condition(old)) => match old_item(old) {
            Some(item) => Ok(refused(&decode(item)?)),
            None => Ok(Take::NoBucket),
        },
        Err(e) => Err(e.into_store()),
    }
}

fn lease_names(w: Write, session: &EdgeSession) -> Write {
    w.name("#L", "L").name("#e", session.to_string())
}

pub(crate) fn old_item(failed: Vec<(usize, Option<Item>)>) -> Option<Item> {
    failed.into_iter().find_map(|(_, item)| item).filter(|i| !i.is_empty())
}

fn bucket_of(item: &Item) -> Result<Bucket, StoreError> {
    let key = sort_key(item);
    key.parse().map_err(|e| StoreError::Corrupt { key: key.to_owned(), why: format!("{e}") })
}

fn rostered(item: &Item) -> Option<Rostered> {
    let (customer, bucket) = sort_key(item).split_once('#')?;
    Some(Rostered { customer: customer.parse().ok()?, bucket: bucket.parse().ok()? })
}
