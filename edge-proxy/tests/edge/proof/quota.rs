//! One quota over many edges: no byte beyond it, and next to none left that nobody can spend.

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::fleet::Fleet;
use super::life::Life;
use crate::support::descriptors::as_many_as_allowed;

const QUOTA: u64 = 100 << 20;
const EDGES: usize = 8;
const TUNNELS: usize = 200;
/// Each has counters of its own at each edge.
const LINES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn eight_edges_spend_one_quota_and_not_a_byte_more() {
    as_many_as_allowed();
    let fleet = Fleet::start(QUOTA).await;
    let lives = fleet.edges(EDGES).await;
    let mut clients = JoinSet::new();
    for n in 0..TUNNELS {
        let (life, line) = (&lives[n % EDGES], n / EDGES % LINES);
        clients.spawn(fleet.open(life, "gated", &format!("l{line}")).await.download());
    }
    // All stand before the first byte: they compete to the last.
    fleet.origin.open_the_gate();
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
