//! The account: who the caller is, what it may do, what it used.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use tollgate_domain::customer::Standing;
use tollgate_domain::line::LineState;

use crate::api::body::Asked;
use crate::api::envelope::Refused;
use crate::api::events::{self, Wanted};
use crate::api::principal::{Caller, ReadAccount};
use crate::api::usage::{self, For, Period};
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

/// `GET /v1/me/usage`
pub(super) async fn usage(
    caller: Caller<ReadAccount>,
    Asked(period): Asked<Period>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let usage = usage::usage(&platform, &caller.customer, period, caller.by.at, For::Customer);
    Ok(Json(Box::pin(usage).await?))
}

/// `GET /v1/me/events`
pub(super) async fn events(
    caller: Caller<ReadAccount>,
    Asked(wanted): Asked<Wanted>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    Ok(Json(events::events(&platform, &caller.customer.id, wanted, caller.by.at).await?))
}
