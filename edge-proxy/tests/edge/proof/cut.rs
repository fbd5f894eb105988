//! Resets, and uploads that are cut: the client does not know what arrived. What the origin received
//! is billed or in doubt, and nothing is billed that the client did not send.

use tokio::task::JoinSet;

use super::fleet::Fleet;
use super::life::Life;
use super::tunnel::Counted;
use super::{DOUBT, PLENTY, kill_count};
use crate::support::eventually;

const SOME: u64 = 2 << 20;

/// Clients that never stop sending.
async fn uploads(fleet: &Fleet, life: &Life) -> JoinSet<Counted> {
    let mut clients = JoinSet::new();
    for line in ["a", "a", "b", "b"] {
        clients.spawn(fleet.open(life, "sink", line).await.upload());
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_and_a_cut_upload_are_billed_for_what_was_forwarded_and_no_more_than_was_sent() {
    let fleet = Fleet::start(PLENTY).await;
    let life = fleet.edge(1).await;
    let mut resets = JoinSet::new();
    for n in 0..4 {
        let bytes = SOME + n * 12_345;
        resets.spawn(fleet.open(&life, "flood", "a").await.download_and_reset(bytes));
        resets.spawn(fleet.open(&life, "sink", "b").await.upload_and_reset(bytes));
    }
    fleet.note_all(resets).await;
    let until = fleet.moved() + 4 * SOME;
    let clients = uploads(&fleet, &life).await;
    eventually("they are served", || async { fleet.moved() >= until }).await;
    life.end().await;
    fleet.note_all(clients).await;

    let (sent, received, _) = fleet.sums();
    let (inward, outward) = fleet.billed().await;
    let origin = fleet.origin.counted().await;
    let (arrived, offered) = origin.iter().fold((0, 0), |(a, o), c| (a + c.received, o + c.sent));
    assert!(arrived <= inward && inward <= sent, "arrived {arrived}, billed {inward}, sent {sent}");
    assert!(received <= outward && outward <= offered, "received {received}, billed {outward}, offered {offered}");
    // The edge itself ended cleanly: nothing is in doubt.
    assert_eq!(fleet.allowance().await.folded, inward + outward);
    fleet.check(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_killed_bills_no_upload_that_was_not_sent() {
    let fleet = Fleet::start(PLENTY).await;
    for kill in 0..kill_count().div_ceil(5) {
        let life = fleet.edge(1).await;
        let until = fleet.moved() + (kill % 4 + 1) * SOME;
        let mut clients = uploads(&fleet, &life).await;
        clients.spawn(fleet.open(&life, "echo", "c").await.exchange(u64::MAX));
        clients.spawn(fleet.open(&life, "flood", "c").await.download_and_reset(SOME));
        eventually("they are served", || async { fleet.moved() >= until }).await;
        life.kill();
        fleet.note_all(clients).await;
    }
    // The last life settles what the one before it left behind.
    fleet.edge(1).await.end().await;
    fleet.check(DOUBT).await;
}
