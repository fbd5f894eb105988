//! The account: who the caller is, what it may do, what it used.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::budget::Bucket;
use tollgate_domain::customer::Standing;
use tollgate_domain::line::LineState;

use crate::api::body::{Asked, invalid};
use crate::api::envelope::Refused;
use crate::api::principal::{Caller, ReadAccount};
use crate::api::views;
use crate::customers::used_up;
use crate::lockout;
use crate::outcome::store;
use crate::platform::Platform;

/// `GET /v1/me`
pub(super) async fn me(
    caller: Caller<ReadAccount>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let customer = lockout::take_in(&platform, caller.customer).await?;
    let (lines, buckets) =
        futures_util::future::try_join(platform.store.lines(&customer.id), platform.store.allowances(&customer.id))
            .await
            .map_err(store)?;
    let mut me = views::account(&customer, caller.by.at);
    me["openLines"] = lines.iter().filter(|l| l.state == LineState::Open).count().into();
    let active = customer.standing(caller.by.at) == Standing::Active;
    if active && used_up(&customer, &buckets, caller.by.at) {
        me["status"] = "limited".into();
    }
    me["endpoint"] = platform.edge_endpoint.as_str().into();
    Ok(Json(me))
}

/// Which month.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    /// `yyyy-mm`; none = this one.
    month: Option<String>,
}

/// `GET /v1/me/usage`
pub(super) async fn usage(
    caller: Caller<ReadAccount>,
    Asked(period): Asked<Period>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let month = period.month.unwrap_or_else(|| caller.by.at.month());
    if !is_month(&month) {
        return Err(invalid("month: yyyy-mm"));
    }
    let id = &caller.customer.id;
    let (buckets, rows) =
        futures_util::future::try_join(platform.store.allowances(id), platform.store.usage(id, &month))
            .await
            .map_err(store)?;
    let buckets = buckets.iter().map(|(bucket, a)| {
        json!({
            "kind": match bucket { Bucket::Plan { .. } => "plan", Bucket::Pack { .. } => "pack", Bucket::Unlimited { .. } => "unlimited" },
            "grantedBytes": a.granted,
            "usedBytes": a.used(),
            "availableBytes": a.available,
            "from": views::time(a.spend_from),
            "until": views::time(a.spend_until),
        })
    });
    let mut days: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    for (key, day) in &rows {
        let sum = days.entry(&key.day).or_default();
        sum.0 = sum.0.saturating_add(day.ingress);
        sum.1 = sum.1.saturating_add(day.egress);
        sum.2 = sum.2.saturating_add(day.connections);
    }
    let total = days.values().fold(0u64, |sum, d| sum.saturating_add(d.0).saturating_add(d.1));
    let days = days.iter().map(|(day, (ingress, egress, connections))| {
        json!({ "day": day, "ingressBytes": ingress, "egressBytes": egress, "connections": connections })
    });
    Ok(Json(json!({
        "month": month,
        "totalBytes": total,
        "quotaBytes": caller.customer.limits.quota_bytes,
        "buckets": buckets.collect::<Vec<_>>(),
        "days": days.collect::<Vec<_>>(),
    })))
}

fn is_month(s: &str) -> bool {
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    match s.split_once('-') {
        Some((y, m)) => y.len() == 4 && m.len() == 2 && digits(y) && digits(m) && ("01"..="12").contains(&m),
        None => false,
    }
}
