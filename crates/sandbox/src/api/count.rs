//! `count_available_ips`, under both of its documented paths.

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::ips::known_zone;
use super::reply::{Reply, perform};
use crate::config::ZoneKind;
use crate::dialect::CountPath;
use crate::fault::{Call, FaultSet};
use crate::shared::Shared;

#[derive(Deserialize)]
pub(super) struct CountQuery {
    zone: Option<String>,
    /// JSON of a [`Plan`].
    plan: Option<String>,
}

#[derive(Deserialize)]
struct Plan {
    country: Option<String>,
    pool_ip_type: Option<String>,
}

pub(super) async fn under_zone(app: App, query: Query<CountQuery>) -> Response {
    count(app, query, CountPath::AtRoot).await
}

pub(super) async fn at_root(app: App, query: Query<CountQuery>) -> Response {
    count(app, query, CountPath::UnderZone).await
}

async fn count(State(shared): App, Query(query): Query<CountQuery>, absent_in: CountPath) -> Response {
    if shared.dialects().count_path == absent_in {
        return (StatusCode::NOT_FOUND, "Not Found").into_response();
    }
    let Some(plan) = query.plan else {
        return match known_zone(&shared, query.zone.as_deref()) {
            Err(refused) => refused.into_response(),
            Ok(()) => perform(&shared, shared.faults.take(Call::Count), |s, f| do_count(s, f, None)).await,
        };
    };
    let Ok(plan) = serde_json::from_str::<Plan>(&plan) else {
        return Reply::bad("Invalid plan").into_response();
    };
    // A plan that names no pool asks for datacenter addresses.
    let asked = if plan.pool_ip_type.as_deref() == Some("static_res") { ZoneKind::Isp } else { ZoneKind::Datacenter };
    let same_kind = asked == shared.config.zone_kind;
    let country = plan.country;
    let work = move |s: &Shared, f: &FaultSet| {
        if same_kind { do_count(s, f, country.as_deref()) } else { Reply::Json(json!({"count": 0})) }
    };
    perform(&shared, shared.faults.take(Call::Count), work).await
}

fn do_count(shared: &Shared, faults: &FaultSet, country: Option<&str>) -> Reply {
    let count = shared.read(|z| match country {
        _ if faults.no_stock() => 0,
        Some(c) => z.stock_of(c),
        None => z.stock().values().fold(0, |sum: u32, n| sum.saturating_add(*n)),
    });
    Reply::Json(json!({"count": count}))
}
