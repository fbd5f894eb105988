//! What stories cost at the store: sequential waves and capacity units.

use tollgate_engine::Recorder;

use crate::support::{Rig, ask};

/// Waves, read and write units of one assign.
async fn cost(rig: &Rig, line: &str, country: &str) -> (usize, f64, f64) {
    let recorder = Recorder::new();
    let platform = rig.on(rig.engine.client_recorded(recorder.clone()));
    ask(&platform, line, country).await.unwrap();
    let used = recorder.consumed();
    println!(
        "{line}: {} waves, {} read, {} write: {:?}",
        recorder.waves(),
        used.read,
        used.write,
        recorder.operations()
    );
    (recorder.waves(), used.read, used.write)
}

#[tokio::test]
async fn an_assign_by_recycling_is_two_waves() {
    let rig = Rig::new().await;
    rig.idle("nl", 20).await;
    rig.sandbox.set_stock("nl", 5);
    let (waves, read, write) = cost(&rig, "new", "nl").await;
    assert!(waves <= 2 && read <= 12.0 && write <= 20.0, "{waves} {read} {write}");
    let (waves, read, write) = cost(&rig, "new", "nl").await;
    assert!(waves <= 1 && read <= 12.0 && write == 0.0, "already bound: {waves} {read} {write}");
    rig.close("new").await;
    let (waves, read, write) = cost(&rig, "new", "nl").await;
    assert!(waves <= 3 && read <= 13.0 && write <= 20.0, "returning: {waves} {read} {write}");
}

#[tokio::test]
async fn an_assign_by_purchase_costs_the_same_however_large_the_inventory_is() {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("fr", 5);
    let small = cost(&rig, "small", "fr").await;
    assert!(small.0 <= 8 && small.1 <= 20.0 && small.2 <= 45.0, "{small:?}");
    rig.idle("nl", 300).await;
    let large = cost(&rig, "large", "fr").await;
    assert!(large.0 <= small.0 && large.1 <= small.1 && large.2 <= small.2 + 1.0, "{small:?} {large:?}");
}
