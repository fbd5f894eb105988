//! Plans. A change is a new version; customers keep theirs until they are moved.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tollgate_domain::money::Money;
use tollgate_domain::plan::{Limits, Plan, by_code};

use crate::api::body::{Body, invalid};
use crate::api::envelope::Refused;
use crate::api::idempotent::{Done, Key};
use crate::api::limits::LimitsPatch;
use crate::api::principal::{Admin, Owner, Viewer};
use crate::api::views;
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::NOTHING;

/// `GET /admin/plans`: all versions of all plans.
pub(super) async fn list(_: Admin<Viewer>, State(platform): State<Arc<Platform>>) -> Result<Json<Value>, Refused> {
    let plans = platform.store.plans().await.map_err(store)?;
    Ok(Json(json!({ "plans": plans.iter().map(views::plan).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wanted {
    code: String,
    limits: LimitsPatch,
    base: Money,
    per_gb: Money,
}

/// What a plan must say of its limits; the others are unlimited, or as [`unsaid`].
const SAID: [&str; 5] = ["threads", "qps", "rateTotal", "maxLines", "maxSessions"];

/// Limits of a plan that says nothing.
fn unsaid() -> Limits {
    Limits { thread_burst_milli: 2000, settle_s: 5, ..Limits::default() }
}

impl Wanted {
    fn plan(self) -> Result<Plan, Refused> {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if self.code.is_empty() || self.code.len() > 32 || !self.code.bytes().all(ok) {
            return Err(invalid("code: [a-z0-9_]{1,32}"));
        }
        if by_code(&self.code).is_some_and(|p| p.code != self.code) {
            return Err(invalid("code: this is an alias of a shipped plan"));
        }
        self.limits.has(&SAID)?;
        self.limits.check()?;
        let mut limits = unsaid();
        self.limits.apply(&mut limits);
        Ok(Plan { code: self.code, ver: 0, limits, base: self.base, per_gb: self.per_gb })
    }
}

/// `POST /admin/plans`: a plan, or the next version of one.
pub(super) async fn create(
    admin: Admin<Owner>,
    State(platform): State<Arc<Platform>>,
    key: Key,
    body: Body,
) -> Result<Done, Refused> {
    let plan = body.json::<Wanted>()?.plan()?;
    let work = Box::pin(async {
        let made = platform.store.new_plan_version(&plan).await.map_err(store)?;
        let target = format!("plan:{}", made.code);
        admin.by.record(&platform, "plan.create", &target, NOTHING, Some(&made)).await?;
        Ok(Done::new(StatusCode::CREATED, views::plan(&made)))
    });
    key.once(&platform, &admin.by, &body, work).await
}
