//! What a customer used, as both routers show it: buckets with what edges hold of them, daily
//! counters, and what came too late.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::budget::{Allowance, Bucket, Lease, LeaseState};
use tollgate_domain::customer::Customer;
use tollgate_domain::daily::{DayTotal, DayUsage};
use tollgate_domain::id::{EdgeSession, ProxyId};
use tollgate_domain::time::Timestamp;

use super::body::invalid;
use super::envelope::Refused;
use super::views;
use crate::outcome::store;
use crate::platform::Platform;

/// Which month.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    /// `yyyy-mm`; none = this one.
    month: Option<String>,
}

/// Whom the figures are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// The customer: sums.
    Customer,
    /// An operator: also which life of which edge holds what.
    Operator,
}

/// The usage of `customer` in a month, none = the one of `now`.
pub(super) async fn usage(
    platform: &Platform,
    customer: &Customer,
    period: Period,
    now: Timestamp,
    whom: For,
) -> Result<Value, Refused> {
    let month = period.month.unwrap_or_else(|| now.month());
    if !is_month(&month) {
        return Err(invalid("month: yyyy-mm"));
    }
    let id = &customer.id;
    let read = futures_util::future::try_join4(
        platform.store.allowances(id),
        platform.store.usage(id, &month),
        platform.store.late(id),
        platform.store.rollups(id, &month),
    );
    let (buckets, rows, late, rollups) = Box::pin(read).await.map_err(store)?;
    let mut days: BTreeMap<&str, Vec<(&ProxyId, &DayUsage)>> = BTreeMap::new();
    for (key, usage) in &rows {
        days.entry(&key.day).or_default().push((&key.proxy, usage));
    }
    let days: BTreeMap<&str, DayTotal> = days.into_iter().map(|(day, rows)| (day, DayTotal::of(rows))).collect();
    let total = days.values().fold(0u64, |sum, d| sum.saturating_add(d.moved.bytes()));
    // Added up when nobody wrote it any more, and not raised since.
    let folded: BTreeMap<&str, u64> = rollups.iter().map(|r| (r.day.as_str(), r.total.seqs)).collect();
    let days = days.iter().map(|(day, d)| {
        json!({
            "day": day,
            "ingressBytes": d.moved.ingress,
            "egressBytes": d.moved.egress,
            "connections": d.moved.connections,
            "final": folded.get(day) == Some(&d.seqs),
        })
    });
    let mut shown = json!({
        "month": month,
        "totalBytes": total,
        "quotaBytes": customer.limits.quota_bytes,
        "buckets": buckets.iter().map(|(b, a)| bucket(b, a, whom)).collect::<Vec<_>>(),
        "days": days.collect::<Vec<_>>(),
        "lateBytes": late.iter().fold(0u64, |sum, l| sum.saturating_add(l.bytes())),
    });
    if whom == For::Operator {
        let late = late.iter().map(|l| {
            json!({
                "edge": l.session.edge,
                "epoch": l.session.epoch,
                "bytes": l.bytes(),
                "doubtBytes": l.doubt,
                "at": views::time(l.at),
            })
        });
        shown["late"] = late.collect::<Vec<_>>().into();
    }
    Ok(shown)
}

fn bucket(bucket: &Bucket, a: &Allowance, whom: For) -> Value {
    let sum = |f: fn(&Lease) -> u64| a.leases.values().fold(0u64, |sum, l| sum.saturating_add(f(l)));
    let mut shown = json!({
        "kind": match bucket {
            Bucket::Plan { .. } => "plan",
            Bucket::Pack { .. } => "pack",
            Bucket::Unlimited { .. } => "unlimited",
        },
        "grantedBytes": a.granted,
        "usedBytes": a.used(),
        "availableBytes": a.available,
        // Held by edges and neither moved nor in doubt: used or given back within seconds.
        "leasedBytes": sum(|l| l.taken.saturating_sub(l.settled).saturating_sub(l.doubt)),
        // Part of what is used; never billed.
        "doubtBytes": sum(|l| l.doubt),
        "from": views::time(a.spend_from),
        "until": views::time(a.spend_until),
    });
    if whom == For::Operator {
        shown["leases"] = a.leases.iter().map(|(session, l)| lease(session, l)).collect::<Vec<_>>().into();
    }
    shown
}

fn lease(session: &EdgeSession, l: &Lease) -> Value {
    json!({
        "edge": session.edge,
        "epoch": session.epoch,
        "state": match l.state {
            LeaseState::Open => "open",
            LeaseState::Lost => "lost",
        },
        "takenBytes": l.taken,
        "settledBytes": l.settled,
        "doubtBytes": l.doubt,
    })
}

fn is_month(s: &str) -> bool {
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    match s.split_once('-') {
        Some((y, m)) => y.len() == 4 && m.len() == 2 && digits(y) && digits(m) && ("01"..="12").contains(&m),
        None => false,
    }
}
