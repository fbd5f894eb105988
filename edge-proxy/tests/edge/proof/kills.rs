//! `kill -9` under load, again and again: `billed ≤ moved ≤ billed + doubt`, for each life and in all.

use tokio::task::JoinSet;

use super::fleet::Fleet;
use super::life::Life;
use super::tunnel::Counted;
use super::{DOUBT, PLENTY, kill_count};
use crate::support::eventually;

const TUNNELS: usize = 6;

/// What moved, was billed, and is in doubt.
#[derive(Clone, Copy, Debug, Default)]
struct Books {
    moved: u64,
    billed: u64,
    doubt: u64,
}

impl Books {
    fn read(moved: u64, billed: u64, charged: u64) -> Self {
        assert!(billed <= charged, "billed {billed}, charged {charged}");
        Self { moved, billed, doubt: charged - billed }
    }

    fn since(self, before: Self) -> Self {
        Self { moved: self.moved - before.moved, billed: self.billed - before.billed, doubt: self.doubt - before.doubt }
    }

    fn holds(self, doubt: u64) {
        assert!(self.billed <= self.moved, "{self:?}");
        assert!(self.moved <= self.billed + self.doubt, "{self:?}");
        assert!(self.doubt <= doubt, "{self:?}");
    }
}

/// What the store says once the lives before are settled, while no client works.
async fn books(fleet: &Fleet) -> Books {
    let a = fleet.allowance().await;
    assert!(a.leases.is_empty(), "{a:?}");
    let (inward, outward) = fleet.billed().await;
    assert_eq!(inward, 0, "clients sent nothing");
    // The quota has lost what is billed and what is in doubt, and no byte more.
    Books::read(fleet.moved(), outward, a.granted - a.available)
}

async fn downloads(fleet: &Fleet, life: &Life) -> JoinSet<Counted> {
    let mut clients = JoinSet::new();
    for n in 0..TUNNELS {
        clients.spawn(fleet.open(life, "flood", &format!("l{}", n % 3)).await.download());
    }
    clients
}

/// How much moves before a kill, so that kills come at different times.
fn load(kill: u64) -> u64 {
    (64 << 10) << (kill * 5 % 8)
}

/// A successor dies in the middle of its recovery: the next finds what both left behind.
async fn die_while_recovering(fleet: &Fleet) {
    let before = fleet.epoch(1).await;
    let process = fleet.spawn(1);
    eventually("its epoch begins", || async { fleet.epoch(1).await > before }).await;
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_killed_bills_no_byte_that_did_not_move_and_doubts_an_operation_per_worker() {
    let fleet = Fleet::start(PLENTY).await;
    let mut before = Books::default();
    for kill in 0..kill_count() {
        let life = fleet.edge(1).await;
        let now = books(&fleet).await;
        now.since(before).holds(DOUBT);
        before = now;
        let clients = downloads(&fleet, &life).await;
        let until = fleet.moved() + load(kill);
        eventually("they are served", || async { fleet.moved() >= until }).await;
        life.kill();
        // What the edge had handed to the system still arrives.
        fleet.note_all(clients).await;
        if kill % 4 == 3 {
            die_while_recovering(&fleet).await;
        }
    }
    let life = fleet.edge(1).await;
    let last = books(&fleet).await;
    last.since(before).holds(DOUBT);
    last.holds(kill_count() * DOUBT);
    let (sent, _, whole) = fleet.sums();
    assert!(whole && sent == 0, "downloads that were reset have no exact count");
    println!("{} kills: {last:?}", kill_count());
    life.end().await;
    fleet.check(DOUBT).await;
}
