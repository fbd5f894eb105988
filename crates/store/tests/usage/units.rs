//! What settling costs at the store.

use tollgate_domain::id::ProxyId;
use tollgate_engine::Recorder;
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
