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
    limits: WantedLimits,
    base: Money,
    per_gb: Money,
}

/// 0 = unlimited, `null` = unlimited.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WantedLimits {
    threads: u32,
    #[serde(default = "double")]
    thread_burst_milli: u32,
    qps: u32,
    rate_total: u64,
    quota_bytes: Option<u64>,
    max_lines: u32,
    max_sessions: u32,
    spend_day: Option<Money>,
    #[serde(default = "five")]
    settle_seconds: u32,
}

fn double() -> u32 {
    2000
}

fn five() -> u32 {
    5
}

/// Most bytes a quota may have: 2^50, so that sums stay exact everywhere.
const LARGEST_QUOTA: u64 = 1 << 50;

impl Wanted {
    fn plan(self) -> Result<Plan, Refused> {
        let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if self.code.is_empty() || self.code.len() > 32 || !self.code.bytes().all(ok) {
            return Err(invalid("code: [a-z0-9_]{1,32}"));
        }
        if by_code(&self.code).is_some_and(|p| p.code != self.code) {
            return Err(invalid("code: this is an alias of a shipped plan"));
        }
        let l = self.limits;
        if !(1..=300).contains(&l.settle_seconds) {
            return Err(invalid("settleSeconds: 1 to 300"));
        }
        if !(1000..=100_000).contains(&l.thread_burst_milli) {
            return Err(invalid("threadBurstMilli: 1000 to 100000"));
        }
        if l.quota_bytes.is_some_and(|q| q > LARGEST_QUOTA) {
            return Err(invalid(format!("quotaBytes: at most {LARGEST_QUOTA}; null = unlimited")));
        }
        let limits = Limits {
            threads: l.threads,
            thread_burst_milli: l.thread_burst_milli,
            qps: l.qps,
            rate_total: l.rate_total,
            quota_bytes: l.quota_bytes,
            max_lines: l.max_lines,
            max_sessions: l.max_sessions,
            spend_day: l.spend_day,
            settle_s: l.settle_seconds,
        };
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
