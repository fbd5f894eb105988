//! One quota over many edges: no byte beyond it, and next to none left that nobody can spend.

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::DOUBT;
use super::fleet::Fleet;
use super::life::Life;
use super::tunnel::Counted;
use crate::support::descriptors::as_many_as_allowed;
use crate::support::eventually;

const QUOTA: u64 = 100 << 20;
/// For the story in which edges are killed.
const LESS: u64 = 48 << 20;
const EDGES: usize = 8;
const TUNNELS: usize = 200;
/// Each has counters of its own at each edge.
const LINES: usize = 4;

/// So many downloads over these edges. All stand before the first byte.
async fn competing(fleet: &Fleet, lives: &[Life], tunnels: usize) -> JoinSet<Counted> {
    let mut clients = JoinSet::new();
    for n in 0..tunnels {
        let (life, line) = (&lives[n % lives.len()], n / lives.len() % LINES);
        clients.spawn(fleet.open(life, "gated", &format!("l{line}")).await.download());
    }
    fleet.origin.open_the_gate();
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_edges_spend_one_quota_and_not_a_byte_more() {
    as_many_as_allowed();
    let fleet = Fleet::start(QUOTA).await;
    let lives = fleet.edges(EDGES).await;
    let clients = competing(&fleet, &lives, TUNNELS).await;
    fleet.note_all(clients).await;

    let forwarded = fleet.moved();
    assert!(forwarded <= QUOTA, "{forwarded} of {QUOTA}");
    join_all(lives.into_iter().map(Life::end)).await;
    let stranded = QUOTA - forwarded;
    println!("{stranded} of {QUOTA} bytes stranded");
    assert!(stranded <= QUOTA / 100, "{stranded} of {QUOTA}");
    fleet.is_exact().await;
    fleet.check(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_that_are_killed_let_nobody_overshoot_and_what_they_held_comes_back_with_them() {
    let fleet = Fleet::start(LESS).await;
    let mut lives = fleet.edges(4).await;
    let clients = competing(&fleet, &lives, 20).await;
    eventually("they are served", || async { fleet.moved() >= LESS / 4 }).await;
    for life in lives.drain(..2) {
        life.kill();
    }
    // The others spend what the dead do not hold.
    fleet.note_all(clients).await;
    let forwarded = fleet.moved();
    assert!(forwarded <= LESS, "{forwarded} of {LESS}");

    // `drain` took the first two: these are their next lives.
    lives.extend(fleet.edges(2).await);
    if fleet.allowance().await.available > 0 {
        let last = &lives[lives.len() - 1];
        fleet.note(fleet.open(last, "flood", "l0").await.download().await);
    }
    let forwarded = fleet.moved();
    assert!(forwarded <= LESS, "{forwarded} of {LESS}");
    join_all(lives.into_iter().map(Life::end)).await;
    let a = fleet.allowance().await;
    assert!(a.leases.is_empty() && a.available <= LESS / 100, "{a:?}");
    fleet.check(DOUBT).await;
}
