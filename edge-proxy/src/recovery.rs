//! What a crash left behind, settled before new traffic: counters to their daily rows, leases
//! closed with what moved and what is in doubt, lines quiet. What a lease moved that was declared
//! lost meanwhile comes late: it is written down to be shown, and is in no row that is billed.
//!
//! After power loss the journal may be older than the store. What either knows counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tollgate_domain::id::{CustomerId, LineLabel, ProxyId};
use tollgate_domain::time::Timestamp;
use tollgate_store::allowance::{Close, Rostered};
use tollgate_store::lost::Late;
use tollgate_store::proxy_use::ProxyUse;
use tollgate_store::usage::{DayUsage, UsageKey};
use tollgate_store::{Store, StoreError};

use crate::config::EdgeConfig;
use crate::edge::StartError;
use crate::journal::{self, Counters, LeaseLeft, Remains, UsageLeft};

/// How far a life's clock may have been off at its beginning and end: its rows are looked for so
/// much earlier and later.
const ADRIFT: Duration = Duration::from_secs(86_400);

/// Attempts of a dead process, at most, that may arrive after what is told in its place: those come to nothing.
const LATE_WRITES: u64 = 1 << 20;

/// What was settled of one life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    pub leases: usize,
    pub bytes: u64,
    pub doubt: u64,
}

/// Settles, and deletes, what earlier lives of this edge left behind in its data folder; those of
/// live processes are left alone.
pub(crate) async fn settle_all(config: &EdgeConfig, store: &Store, now: Timestamp) -> Result<(), StartError> {
    settle_these(journal::earlier(&config.data_dir, &config.edge)?, store, now).await
}

/// Settles these, and deletes their journals.
pub(crate) async fn settle_these(earlier: Vec<Remains>, store: &Store, now: Timestamp) -> Result<(), StartError> {
    for remains in earlier {
        let settled = settle(store, &remains, now).await?;
        tracing::warn!(
            session = %remains.session, leases = settled.leases, bytes = settled.bytes, doubt_bytes = settled.doubt,
            "settled what an earlier life left behind"
        );
        remains.delete().map_err(|why| StartError::Io { what: "an earlier journal".to_owned(), why })?;
    }
    Ok(())
}

/// Settles the remains of one life in the store. Safe to repeat from any point.
pub(crate) async fn settle(store: &Store, remains: &Remains, now: Timestamp) -> Result<Settled, StoreError> {
    let mut sum = Settled::default();
    let mut billed = BTreeSet::new();
    let roster = store.roster(&remains.session).await?;
    for entry in &roster {
        let left = remains.leases.iter().find(|l| l.customer == entry.customer && l.bucket == entry.bucket);
        if close(store, remains, entry, left, now).await? {
            billed.insert(entry.clone());
        }
        sum.leases += 1;
        sum.bytes += left.map_or(0, LeaseLeft::settled);
        sum.doubt += left.map_or(0, |l| l.doubt);
    }
    // After the leases, which say what is lost; before the roster forgets them. What it names no
    // longer is in the rows, or was lost.
    write_rows(store, remains, &billed).await?;
    for entry in &roster {
        store.roster_remove(&remains.session, entry).await?;
    }
    for line in store.roster_lines(&remains.session).await? {
        store.line_quiet(&line, &remains.session, now).await?;
    }
    Ok(sum)
}

/// Closes one lease. `false`: it was declared lost, and what it moved is written down as late.
async fn close(
    store: &Store,
    remains: &Remains,
    entry: &Rostered,
    left: Option<&LeaseLeft>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    loop {
        let buckets = store.allowances(&entry.customer).await?;
        let bucket = buckets.iter().find(|(b, _)| *b == entry.bucket);
        let Some(lease) = bucket.and_then(|(_, a)| a.leases.get(&remains.session)) else { return Ok(true) };
        // A lease without a slot moved nothing since the store last heard of it.
        let (counted, doubt) = left.map_or((0, 0), |l| (l.settled(), l.doubt));
        let Some(last) = lease.after_crash(counted, doubt) else {
            // Its bytes are charged to the quota already.
            let late = Late {
                session: remains.session.clone(),
                bucket: entry.bucket.clone(),
                moved: counted.max(lease.settled),
                settled: lease.settled,
                doubt,
                at: now,
            };
            tracing::warn!(customer = %entry.customer, bucket = %entry.bucket, late_bytes = late.bytes(), "the lease was declared lost");
            store.record_late(&entry.customer, &late).await?;
            return Ok(false);
        };
        match store.close_lease(&entry.customer, &entry.bucket, &remains.session, last).await? {
            // The loss itself is found by the next look.
            Close::Stale { .. } | Close::Lost => {}
            Close::Closed => return Ok(true),
            Close::Overspent => {
                return Err(StoreError::Corrupt {
                    key: format!("{} {}", entry.customer, entry.bucket),
                    why: "the journal and the lease do not fit".to_owned(),
                });
            }
        }
    }
}

/// Raises the rows of the old session to what the journal counted under `billed` leases. What no
/// row has yet goes to the day of the last checkpoint.
async fn write_rows(store: &Store, remains: &Remains, billed: &BTreeSet<Rostered>) -> Result<(), StoreError> {
    let mut counted: BTreeMap<&CustomerId, BTreeMap<(LineLabel, ProxyId), Vec<&UsageLeft>>> = BTreeMap::new();
    let is_billed = |l: &&LeaseLeft| billed.iter().any(|e| e.customer == l.customer && e.bucket == l.bucket);
    for lease in remains.leases.iter().filter(is_billed) {
        for usage in &lease.usages {
            let slots = counted.entry(&lease.customer).or_default();
            slots.entry((usage.line.clone(), usage.proxy.clone())).or_default().push(usage);
        }
    }
    for (customer, by_line) in counted {
        let rows = rows_of(store, remains, customer).await?;
        for ((line, proxy), slots) in by_line {
            raise(store, remains, customer, (line, proxy), &slots, &rows).await?;
        }
        tell_proxies(store, remains, customer).await?;
    }
    Ok(())
}

/// Tells of the proxies what the rows of the old session say, all of them.
async fn tell_proxies(store: &Store, remains: &Remains, customer: &CustomerId) -> Result<(), StoreError> {
    let mut carried: BTreeMap<ProxyId, (u64, Timestamp)> = BTreeMap::new();
    for (key, usage) in rows_of(store, remains, customer).await? {
        let (bytes, last_at) = carried.entry(key.proxy).or_default();
        *bytes = bytes.saturating_add(usage.bytes());
        *last_at = usage.last_at.max(*last_at);
    }
    for (proxy, (bytes, last_at)) in carried {
        let told = store.proxy_use(&proxy, customer, &remains.session).await?.unwrap_or_default();
        if told.bytes < bytes || told.open > 0 {
            let used = ProxyUse { seq: told.seq + LATE_WRITES, bytes: told.bytes.max(bytes), last_at, open: 0 };
            store.record_proxy_use(&proxy, customer, &remains.session, &used).await?;
        }
    }
    Ok(())
}

type Rows = Vec<(UsageKey, DayUsage)>;

async fn rows_of(store: &Store, remains: &Remains, customer: &CustomerId) -> Result<Rows, StoreError> {
    let mut rows = Vec::new();
    // The clock may have been set back or forth meanwhile.
    let mut month = remains.created.minus(ADRIFT).month_start();
    while month <= remains.alive.plus(ADRIFT) {
        rows.extend(store.usage(customer, &month.month()).await?);
        month = month.next_month_start();
    }
    rows.retain(|(key, _)| key.session == remains.session);
    Ok(rows)
}

async fn raise(
    store: &Store,
    remains: &Remains,
    customer: &CustomerId,
    (line, proxy): (LineLabel, ProxyId),
    slots: &[&UsageLeft],
    rows: &Rows,
) -> Result<(), StoreError> {
    let ours: Vec<_> = rows.iter().filter(|(k, _)| k.line == line && k.proxy == proxy).collect();
    let stored = ours.iter().map(|(_, u)| u.seq).max().unwrap_or(0);
    let mut missing = Counters::default();
    for slot in slots {
        missing += slot.counters.since(slot.recorded(stored));
    }
    if missing == Counters::default() {
        return Ok(());
    }
    let day = remains.alive.day();
    // Whoever added the day up must do so again.
    store.begin_day(customer, &day, &remains.session).await?;
    let seq = stored + 1;
    for slot in slots {
        remains.sending(slot, stored, seq);
    }
    let first_at = slots.iter().map(|s| s.since).min().unwrap_or(remains.created);
    let before = ours.iter().find(|(k, _)| k.day == day).map(|(_, u)| *u);
    let base = before.unwrap_or(DayUsage { first_at, ..DayUsage::default() });
    let usage = DayUsage {
        seq,
        ingress: base.ingress + missing.ingress,
        egress: base.egress + missing.egress,
        connections: base.connections + missing.connections,
        first_at: base.first_at,
        last_at: remains.alive.max(base.last_at),
    };
    let key = UsageKey { day, line, proxy, session: remains.session.clone() };
    store.record_usage(customer, &key, &usage).await.map(|_| ())
}
