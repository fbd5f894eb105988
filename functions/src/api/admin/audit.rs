//! The audit trail.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::time::Timestamp;
use tollgate_store::audit::Verdict;

use crate::api::body::{Asked, invalid};
use crate::api::envelope::Refused;
use crate::api::principal::{Admin, Viewer};
use crate::outcome::store;
use crate::platform::Platform;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Day {
    /// `yyyy-mm-dd`, UTC; none = today.
    day: Option<String>,
}

/// `GET /admin/audit?day=`: the day's records, and whether their chains are whole.
pub(super) async fn list(
    admin: Admin<Viewer>,
    Asked(asked): Asked<Day>,
    State(platform): State<Arc<Platform>>,
) -> Result<Json<Value>, Refused> {
    let day = asked.day.unwrap_or_else(|| admin.by.at.day());
    if Timestamp::parse(&format!("{day}T00:00:00Z")).is_none_or(|t| t.day() != day) {
        return Err(invalid("day: yyyy-mm-dd"));
    }
    let (records, verdict) =
        futures_util::future::try_join(platform.store.audit(&day), platform.store.verify_chain(&day))
            .await
            .map_err(store)?;
    let shown = records.iter().map(|r| {
        let mut shown = r.entry.to_json();
        shown["number"] = r.number.into();
        shown["hash"] = r.hash.as_str().into();
        shown
    });
    let chain = match verdict {
        Verdict::Sound(records) => json!({ "sound": true, "records": records }),
        Verdict::Broken { chain, number } => json!({ "sound": false, "chain": chain, "number": number }),
    };
    Ok(Json(json!({ "day": day, "chain": chain, "records": shown.collect::<Vec<_>>() })))
}
