//! What EventBridge Scheduler does on AWS, by the injected clock.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tollgate_domain::time::Clock as _;
use tollgate_engine::Engine;
use tollgate_functions::platform::Platform;
use tollgate_functions::{create_budgets, expire_leases, reconcile, release_idle, rollup};

use crate::clock::JumpClock;

/// Lines that are due close, idle addresses that are due go back.
const RELEASE_IDLE: Duration = Duration::from_secs(60);
/// Providers' lists are compared with ours.
const RECONCILE: Duration = Duration::from_secs(5 * 60);
/// Budgets are made ahead of their period.
const CREATE_BUDGETS: Duration = Duration::from_secs(24 * 3600);
/// Leases of periods that are long over are lost.
const EXPIRE_LEASES: Duration = Duration::from_secs(3600);
/// Days that are over are added up.
const ROLLUP: Duration = Duration::from_secs(3600);
/// For so long; the next run goes on.
const ROLLUP_WITHIN: Duration = Duration::from_secs(600);
/// Expired items are deleted: a real table does that by itself.
const SWEEP: Duration = Duration::from_secs(10 * 60);

/// Starts all schedules; dropping the set ends them.
#[must_use]
pub fn start(platform: &Arc<Platform>, clock: &Arc<JumpClock>, engine: &Engine) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let p = Arc::clone(platform);
    running.spawn(every("release-idle", RELEASE_IDLE, Arc::clone(clock), move || {
        let p = Arc::clone(&p);
        async move { report(release_idle::release_idle(&p).await) }
    }));
    let p = Arc::clone(platform);
    running.spawn(every("reconcile", RECONCILE, Arc::clone(clock), move || {
        let p = Arc::clone(&p);
        async move { report(reconcile::reconcile_all(&p).await) }
    }));
    let p = Arc::clone(platform);
    running.spawn(every("create-budgets", CREATE_BUDGETS, Arc::clone(clock), move || {
        let p = Arc::clone(&p);
        async move { report(create_budgets::create_budgets(&p).await) }
    }));
    let p = Arc::clone(platform);
    running.spawn(every("expire-leases", EXPIRE_LEASES, Arc::clone(clock), move || {
        let p = Arc::clone(&p);
        async move { report(expire_leases::expire_leases(&p).await) }
    }));
    let p = Arc::clone(platform);
    running.spawn(every("rollup", ROLLUP, Arc::clone(clock), move || {
        let p = Arc::clone(&p);
        async move { report(rollup::rollup(&p, ROLLUP_WITHIN).await) }
    }));
    let engine = engine.clone();
    running.spawn(every("sweep", SWEEP, Arc::clone(clock), move || {
        let engine = engine.clone();
        async move { report(engine.sweep_ttl().await) }
    }));
    running
}

fn report<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|e| e.to_string())
}

/// Runs `job` now and then each `period`; a jump over several periods runs it once.
async fn every<F, Fut>(name: &'static str, period: Duration, clock: Arc<JumpClock>, job: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    loop {
        let began = clock.now();
        match job().await {
            Ok(()) => tracing::debug!(schedule = name, "ran"),
            // The next run goes on: every job bears being run twice.
            Err(error) => tracing::warn!(schedule = name, error, "failed"),
        }
        clock.wait_until(began.plus(period)).await;
    }
}
