//! The families an edge writes, through the store's public door, on the embedded engine: the
//! domain's transitions and the engine's agree, lost answers are known again, conflicts pass.

#![allow(clippy::unwrap_used, clippy::panic)] // what a helper cannot do fails the test

mod allowances;
mod commands;
mod conformance;
mod days;
mod events;
mod lost;
mod proxies;
mod sessions;
mod shares;
mod strikes;
mod units;

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::budget::{Allowance, Bucket};
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::time::Timestamp;
use tollgate_engine::{Engine, Fault, Faults, Rates, Step};
use tollgate_store::Store;
use tollgate_store::allowance::Grant;

async fn store() -> (Engine, Store) {
    let engine = Engine::memory().unwrap();
    let store = Store::new(engine.client(), "");
    store.create_tables().await.unwrap();
    (engine, store)
}

/// A store on the same tables whose next `operation` is applied and its answer lost.
fn losing(engine: &Engine, operation: &str) -> (Store, Arc<Faults>) {
    let faults = Faults::script([Step::from(Fault::LostAck).on(operation)]);
    (Store::new(engine.client_with(faults.clone()), ""), faults)
}

/// A store on the same tables where more than half of the writes meet a conflict, and some lose
/// their answers or never arrive.
fn rough(engine: &Engine, seed: u64) -> (Store, Arc<Faults>) {
    let rates = Rates {
        conflict: 500,
        throttle: 20,
        lost_ack: 40,
        timeout: 20,
        delay: 20,
        longest_delay: Duration::from_millis(2),
    };
    let faults = Faults::random(seed, rates);
    (Store::new(engine.client_with(faults.clone()), ""), faults)
}

/// Repeats until the store answers: every transition is safe to repeat.
macro_rules! insist {
    ($call:expr) => {{
        let mut tries = 0;
        loop {
            match $call.await {
                Ok(out) => break out,
                Err(e) => {
                    tries += 1;
                    assert!(tries < 200, "the store never answered: {e}");
                }
            }
        }
    }};
}
pub(crate) use insist;

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + s)
}

fn demo() -> CustomerId {
    "demo".parse().unwrap()
}

fn edge(n: u64) -> EdgeSession {
    EdgeSession { edge: format!("e{n}").parse().unwrap(), epoch: 1 }
}

fn plan() -> Bucket {
    Bucket::Plan { start: at(0) }
}

fn grant_of(source: &str, bytes: u64) -> Grant {
    Grant { source: source.into(), bytes, plan_ver: 1, spend_from: at(0), spend_until: at(1000) }
}

/// A store with one bucket of `bytes`.
async fn granted(bytes: u64) -> (Engine, Store) {
    let (engine, store) = store().await;
    assert!(store.grant(&demo(), &plan(), &grant_of("plan", bytes), at(0)).await.unwrap());
    (engine, store)
}

async fn item(store: &Store) -> Allowance {
    let found = store.allowances(&demo()).await.unwrap();
    let allowance = found.into_iter().find(|(b, _)| *b == plan()).unwrap().1;
    assert!(allowance.is_sound(), "{allowance:?}");
    allowance
}
