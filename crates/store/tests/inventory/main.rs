//! Providers, addresses, intents, lines and assignments through the store's public door: what a
//! transition answers when its condition fails, and when it is repeated. The stories' tests play
//! the ways in which they follow each other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking")]

mod claims;
mod intents;
mod lines;
mod providers;
mod proxies;

use std::collections::BTreeMap;

use tollgate_domain::assignment::{Assignment, AssignmentState};
use tollgate_domain::country::Country;
use tollgate_domain::intent::{Intent, IntentState};
use tollgate_domain::line::{Hold, Line, LineState};
use tollgate_domain::money::Money;
use tollgate_domain::proxy::{ProxyClass, ProxyIp, ProxyState, UpstreamKind};
use tollgate_domain::time::Timestamp;
use tollgate_engine::Engine;
use tollgate_store::Store;
use tollgate_store::assignment::Opening;

/// A store on an engine with the five tables.
async fn store() -> Store {
    let store = Store::new(Engine::memory().unwrap().client(), "");
    store.create_tables().await.unwrap();
    store
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + s)
}

fn nl() -> Country {
    Country::parse("nl").unwrap()
}

fn line(label: &str) -> Line {
    Line {
        key: format!("demo#{label}").parse().unwrap(),
        state: LineState::Open,
        country: nl(),
        class: ProxyClass::Isp,
        hold: Hold::Tunnels,
        alias: None,
        open: BTreeMap::new(),
        close_due: Some(at(300)),
        ver: 1,
        last_proxy: None,
        opened_at: at(0),
        closed_at: None,
    }
}

fn opening(label: &str, max_open: u32) -> Opening {
    Opening { line: line(label), reopened: false, max_open }
}

fn claim(label: &str, attempt: &str) -> Assignment {
    Assignment {
        line: line(label).key,
        state: AssignmentState::Pending,
        attempt: attempt.parse().unwrap(),
        until: at(30),
        ver: 1,
        requested: nl(),
        class: ProxyClass::Isp,
        country: None,
        proxy: None,
        kind: UpstreamKind::Exclusive,
        intent: None,
        hops: Vec::new(),
        since: at(0),
        bound_at: None,
    }
}

fn bound(label: &str, attempt: &str, ip: &str) -> Assignment {
    Assignment {
        state: AssignmentState::Bound,
        country: Some(nl()),
        proxy: Some(idle(ip).id),
        bound_at: Some(at(0)),
        ..claim(label, attempt)
    }
}

fn intent(id: &str, label: &str, attempt: &str) -> Intent {
    Intent {
        id: id.parse().unwrap(),
        provider: "brd".parse().unwrap(),
        zone: "isp".into(),
        country: nl(),
        line: line(label).key,
        attempt: attempt.parse().unwrap(),
        price: Money::usd_micros(4_000_000),
        state: IntentState::Planned,
        planned_at: at(0),
        called_at: None,
        resolved_at: None,
        ip: None,
        reason: None,
        trail: vec![(IntentState::Planned, at(0))],
    }
}

/// An address that nobody holds, due at 3600.
fn idle(ip: &str) -> ProxyIp {
    ProxyIp {
        id: format!("brd/{ip}").parse().unwrap(),
        zone: "isp".into(),
        country: nl(),
        class: ProxyClass::Isp,
        state: ProxyState::Idle,
        ver: 1,
        intent: None,
        line: None,
        price: Money::usd_micros(4_000_000),
        purchased_at: at(0),
        paid_until: at(30 * 86_400),
        idle_since: Some(at(0)),
        due: Some(at(3600)),
        released_at: None,
        recycled: 0,
        release_failures: 0,
        health: 100,
    }
}

fn active(ip: &str, label: &str) -> ProxyIp {
    ProxyIp { state: ProxyState::Active, line: Some(line(label).key), idle_since: None, due: None, ..idle(ip) }
}
