//! What settling costs at the store, and what grows with the number of edges and of changes.

#![allow(clippy::print_stdout)] // the figures are what `docs/COST.md` shows

use tollgate_domain::feed::Command;
use tollgate_domain::id::ProxyId;
use tollgate_domain::share::{Capacity, Part, Terms, Usage};
use tollgate_engine::{Consumed, Recorder};
use tollgate_store::cap::Life;
use tollgate_store::usage::{DayUsage, UsageKey};

use super::*;

/// One customer with one line, one interval: the lease is settled (and a take rides on it), the
/// day's row is written.
#[tokio::test]
async fn a_settlement_is_two_write_units_and_reads_nothing() {
    let (engine, s) = granted(1 << 40).await;
    s.take(&demo(), &plan(), &edge(1), 1 << 20, 0, 0).await.unwrap();
    let recorder = Recorder::new();
    let store = Store::new(engine.client_recorded(recorder.clone()), "");
    store.take(&demo(), &plan(), &edge(1), 1 << 20, 500_000, 1).await.unwrap();
    let key = UsageKey {
        day: at(0).day(),
        line: "chip1".parse().unwrap(),
        proxy: ProxyId { provider: "brd".parse().unwrap(), ip: "203.0.113.7".into() },
        session: edge(1),
    };
    let usage = DayUsage { seq: 1, ingress: 250_000, egress: 250_000, ..DayUsage::default() };
    assert!(store.record_usage(&demo(), &key, &usage).await.unwrap());
    let used = recorder.consumed();
    assert_eq!((used.read, used.write), (0.0, 2.0), "{:?}", recorder.operations());
}

/// An edge whose name is as long as names of machines are.
fn machine(n: u64) -> EdgeSession {
    EdgeSession { edge: format!("edge_{n:014}").parse().unwrap(), epoch: 12 }
}

/// A store on the same tables whose calls are written down.
fn metered(engine: &Engine) -> (Store, Arc<Recorder>) {
    let recorder = Recorder::new();
    (Store::new(engine.client_recorded(Arc::clone(&recorder)), ""), recorder)
}

/// What it costs one of so many edges to settle a lease of a bucket that all of them hold.
async fn settlement_among(edges: u64) -> Consumed {
    const MOVED: u64 = 45_012_345_678;
    let (engine, s) = granted(1 << 50).await;
    for n in 1..=edges {
        s.take(&demo(), &plan(), &machine(n), MOVED + 123, 0, 0).await.unwrap();
        s.take(&demo(), &plan(), &machine(n), 0, MOVED, 1).await.unwrap();
    }
    let (store, recorder) = metered(&engine);
    store.take(&demo(), &plan(), &machine(1), 0, MOVED + 1, 2).await.unwrap();
    recorder.consumed()
}

#[tokio::test]
async fn a_settlement_costs_a_unit_for_each_kilobyte_of_leases_of_its_bucket() {
    for (edges, most) in [(1, 1.0), (14, 1.0), (100, 6.0)] {
        let used = settlement_among(edges).await;
        println!("settle a lease among {edges}: {used:?}");
        assert!(used.write <= most && used.read == 0.0, "{edges} edges: {used:?}");
    }
}

/// What it costs one of so many edges to tell again what a customer uses, which nobody lacks anything of.
async fn report_among(edges: u64) -> Consumed {
    let limits = Capacity { hard: 2000, qps: 2000, rate: 1_000_000_000 };
    let terms = Terms { ver: 12, soft: 1000, limits };
    let need = Part { threads: 7, qps: 13, rate: 1_312_345 };
    let usage = Usage { in_use: 7, need, ..Usage::default() };
    let (engine, s) = store().await;
    for _ in 0..3 {
        for n in 1..=edges {
            s.report_share(&demo(), Life::of(&machine(n)), terms, usage, at(0)).await.unwrap();
        }
    }
    let (store, recorder) = metered(&engine);
    store.report_share(&demo(), Life::of(&machine(1)), terms, usage, at(0)).await.unwrap();
    recorder.consumed()
}

#[tokio::test]
async fn a_report_costs_a_unit_for_each_four_kilobytes_of_shares() {
    for (edges, most) in [(1, 1.0), (16, 1.0), (100, 2.0)] {
        let used = report_among(edges).await;
        println!("report a share among {edges}: {used:?}");
        assert!(used.read <= most, "{edges} edges: {used:?}");
    }
}

#[tokio::test]
async fn a_look_at_the_feed_costs_eight_units_and_one_for_each_four_kilobytes_of_changes() {
    let (engine, s) = store().await;
    let mut entries = 0_u32;
    for more in [0, 400, 1600] {
        for n in entries..entries + more {
            let told = Command::RotateLogs { at: at(u64::from(n)) };
            s.announce_command(&told, at(0)).await.unwrap();
        }
        entries += more;
        let (store, recorder) = metered(&engine);
        assert_eq!(store.changes_since(at(0)).await.unwrap().len(), usize::try_from(entries).unwrap());
        let used = recorder.consumed();
        println!("a look at the feed with {entries} changes in its window: {used:?}");
        // An entry of 128 bytes at most.
        assert!(used.read <= 8.0 + f64::from(entries) * 128.0 / 4096.0, "{entries}: {used:?}");
    }
}

#[tokio::test]
async fn signs_of_life_cost_a_unit_and_the_list_of_edges_one_for_each() {
    const EDGES: u32 = 100;
    let (engine, s) = store().await;
    let mut last = machine(0);
    for n in 0..EDGES {
        last = s.start_epoch(&machine(u64::from(n)).edge, at(0)).await.unwrap();
    }
    let (store, recorder) = metered(&engine);
    store.heartbeat(&last, 7, at(5)).await.unwrap();
    let used = recorder.consumed();
    println!("heartbeat: {used:?}");
    assert!(used.write <= 1.0 && used.read == 0.0, "{used:?}");
    recorder.clear();
    assert_eq!(store.edges().await.unwrap().len(), usize::try_from(EDGES).unwrap());
    let used = recorder.consumed();
    println!("list of {EDGES} edges: {used:?}");
    assert!(used.read <= f64::from(EDGES) + 2.0, "{used:?}");
}

#[tokio::test]
async fn a_grant_is_six_write_units() {
    let (engine, _s) = granted(1 << 30).await;
    let (store, recorder) = metered(&engine);
    assert!(store.grant(&demo(), &plan(), &grant_of("pack", 1 << 30), at(0)).await.unwrap());
    let used = recorder.consumed();
    println!("grant: {used:?}");
    assert!(used.write <= 6.0 && used.read == 0.0, "{used:?}");
}
