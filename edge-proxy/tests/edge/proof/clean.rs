//! Clean ends, of a tunnel and of an edge: what is billed is what moved, and nothing is in doubt.

use tokio::task::JoinSet;

use super::PLENTY;
use super::fleet::Fleet;
use crate::support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_cleanly_is_billed_to_the_byte() {
    let fleet = Fleet::start(PLENTY).await;
    let life = fleet.edge(1).await;

    let mut ends = JoinSet::new();
    // The origin ends; the client does, and the origin after it; both while both still send.
    ends.spawn(fleet.open(&life, "bytes-3000000", "a").await.download());
    ends.spawn(fleet.open(&life, "sink", "a").await.exchange(3_000_000));
    ends.spawn(fleet.open(&life, "echo", "b").await.exchange(1_000_000));
    // The origin's end comes first, what the client sends after it arrives all the same.
    ends.spawn(fleet.open(&life, "bytes-70000", "b").await.answer(80_000));
    // The client closes in silence.
    let mut idle = fleet.open(&life, "echo", "c").await;
    idle.ping().await;
    fleet.note(idle.close());
    fleet.note_all(ends).await;

    // SIGTERM, while two downloads flow and one tunnel is silent.
    let mut cut = JoinSet::new();
    let mut silent = fleet.open(&life, "echo", "c").await;
    silent.ping().await;
    cut.spawn(silent.download());
    let until = fleet.moved() + (4 << 20);
    for line in ["a", "b"] {
        cut.spawn(fleet.open(&life, "flood", line).await.download());
    }
    eventually("they flow", || async { fleet.moved() >= until }).await;
    life.end().await;
    fleet.note_all(cut).await;

    fleet.is_exact().await;
    fleet.check(0).await;
}
