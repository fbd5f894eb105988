//! The account families and the audit trail, through the store's public door, on the embedded
//! engine: what a transition answers when it applies, when its condition fails, when its answer
//! is lost.

// Helpers outside `#[test]` functions fail loudly too.
#![allow(clippy::unwrap_used, clippy::panic)]

mod allow;
mod audit;
mod customers;
mod idempotency;
mod keys_and_plans;

use std::sync::Arc;

use tollgate_domain::customer::{AuthMode, Credential, Customer};
use tollgate_domain::plan::Limits;
use tollgate_domain::time::Timestamp;
use tollgate_engine::{Engine, Fault, Faults, Step};
use tollgate_store::Store;

/// An engine with the five tables, and a store on it.
async fn store() -> (Engine, Store) {
    let engine = Engine::memory().unwrap();
    let store = Store::new(engine.client(), "");
    store.create_tables().await.unwrap();
    (engine, store)
}

/// A store on the same tables whose calls suffer `steps`.
fn faulty(engine: &Engine, steps: impl IntoIterator<Item = Step>) -> (Store, Arc<Faults>) {
    let faults = Faults::script(steps);
    (Store::new(engine.client_with(faults.clone()), ""), faults)
}

/// The answer of an `operation` is lost as often as the client tries.
fn lost_for_good(operation: &str) -> Vec<Step> {
    (0..3).map(|_| Step::from(Fault::LostAck).on(operation)).collect()
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + s)
}

fn customer(id: &str) -> Customer {
    Customer {
        id: id.parse().unwrap(),
        name: format!("{id} Ltd"),
        ver: 1,
        plan: "free".into(),
        plan_ver: 1,
        limits: Limits { threads: 5, ..Limits::default() },
        default_country: None,
        allow_fallback: true,
        max_hops: 7,
        auth: AuthMode::Either,
        ban: None,
        locked_until: None,
        expires_at: None,
        kicked_at: None,
        deleted_at: None,
        created_at: at(0),
    }
}

fn credential(id: &str, user: &str) -> Credential {
    Credential {
        user: user.parse().unwrap(),
        customer: id.parse().unwrap(),
        version: 1,
        verifier: "v1".into(),
        previous: None,
        created_at: at(0),
    }
}
