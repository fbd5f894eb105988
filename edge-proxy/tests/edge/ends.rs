//! How a life of an edge ends other than by a signal: told to drain, declared lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::budget::LeaseState;
use tollgate_domain::feed::Command;
use tollgate_domain::id::EdgeSession;
use tollgate_domain::plan::Limits;
use tollgate_edge::Edge;
use tollgate_engine::{Fault, Faults, Step};
use tollgate_store::Store;
use tollgate_store::edge::EdgeRow;
use tollgate_store::lost::Declared;

use crate::support::world::{PASSWORD, demo, limits, plan_bucket};
use crate::support::{World, connect, eventually, read_all, status};

async fn echo(c: &mut TcpStream, bytes: usize) {
    c.write_all(&vec![b'x'; bytes]).await.unwrap();
    c.read_exact(&mut vec![0_u8; bytes]).await.unwrap();
}

async fn open(edge: &Edge) -> TcpStream {
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut c, 4).await;
    c
}

async fn row(w: &World) -> EdgeRow {
    w.store.edge(&w.config.edge).await.unwrap().unwrap()
}

async fn tell_to_drain(w: &World, session: &EdgeSession, within_s: u32) {
    let drain = Command::Drain { session: session.clone(), within_s, at: w.now() };
    w.store.announce_command(&drain, w.now()).await.unwrap();
}

async fn admin(edge: &Edge, path: &str) -> String {
    let mut c = TcpStream::connect(edge.admin_addr()).await.unwrap();
    c.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    String::from_utf8(read_all(&mut c).await).unwrap()
}

/// Whether nobody listens for customers any more.
async fn closed(edge: &Edge) -> bool {
    TcpStream::connect(edge.gateway_addr()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_told_to_drain_settles_and_stays_to_be_asked() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = open(&edge).await;
    let other = EdgeSession { epoch: 9, ..edge.session().clone() };
    tell_to_drain(&w, &other, 0).await;
    tell_to_drain(&w, edge.session(), 600).await;
    eventually("it drains", || closed(&edge)).await;
    eventually("it says so", || async { row(&w).await.draining_at.is_some() }).await;
    echo(&mut c, 10).await;
    assert!(admin(&edge, "/readyz").await.contains("draining"));
    drop(c);
    eventually("its leases are closed", || async { w.allowance(&plan_bucket()).await.leases.is_empty() }).await;
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 28, "to the byte, both ways");
    eventually("nothing is open", || async { w.store.roster(edge.session()).await.unwrap().is_empty() }).await;
    assert_eq!(w.rows().await.bytes(), 28);
    assert!(admin(&edge, "/healthz").await.contains("200"));
    assert!(row(&w).await.ended_at.is_none(), "it is there");
    edge.drain(Duration::ZERO).await.unwrap();
    assert!(row(&w).await.ended_at.is_some());
    assert!(w.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnels_that_do_not_finish_in_time_are_cut() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = open(&edge).await;
    tell_to_drain(&w, edge.session(), 0).await;
    assert!(read_all(&mut c).await.is_empty());
    eventually("its leases are closed", || async { w.allowance(&plan_bucket()).await.leases.is_empty() }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drains_may_be_told_to_do_so_sooner() {
    let w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let mut c = open(&edge).await;
    tell_to_drain(&w, edge.session(), 600).await;
    eventually("it drains", || closed(&edge)).await;
    tell_to_drain(&w, edge.session(), 0).await;
    assert!(read_all(&mut c).await.is_empty());
    eventually("its leases are closed", || async { w.allowance(&plan_bucket()).await.leases.is_empty() }).await;
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_drains_and_is_declared_lost_is_cut() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.heartbeat_interval = Duration::from_millis(50);
    let edge = w.start().await;
    let mut c = open(&edge).await;
    tell_to_drain(&w, edge.session(), 600).await;
    eventually("it drains", || closed(&edge)).await;
    assert_eq!(w.store.declare_lost(edge.session(), None, w.now()).await.unwrap(), Declared::Lost);
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_declared_lost_carries_nobody_and_its_successor_does() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.heartbeat_interval = Duration::from_millis(50);
    let edge = w.start().await;
    let mut c = open(&edge).await;
    eventually("its tunnel is told", || async { row(&w).await.tunnels == Some(1) }).await;
    // The lease first: once it is told, the life closes what is still its own.
    let lease = w.store.lose_lease(&demo(), &plan_bucket(), edge.session()).await.unwrap().unwrap();
    let lost = w.store.declare_lost(edge.session(), None, w.now()).await.unwrap();
    assert_eq!(lost, Declared::Lost);
    assert!(read_all(&mut c).await.is_empty(), "its tunnels are cut");
    eventually("its doors close", || closed(&edge)).await;
    // Its books try to close the lease, find it lost, and say what moved since.
    eventually("what moved is told", || async { !w.store.late(&demo()).await.unwrap().is_empty() }).await;
    let late = w.store.late(&demo()).await.unwrap().remove(0);
    assert_eq!((late.moved, late.settled), (8, lease.settled));
    edge.drain(Duration::ZERO).await.unwrap();
    // A row follows the settlement that it is of: of a loss between the two it knows nothing.
    assert!(w.rows().await.bytes() <= lease.settled, "what moved since is not billed");
    let held = w.allowance(&plan_bucket()).await;
    assert_eq!((held.leases.len(), held.used()), (1, lease.taken), "the lost lease stays charged");

    let edge = w.start().await;
    let c = open(&edge).await;
    drop(c);
    edge.drain(Duration::from_secs(2)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_returns_after_the_loss_is_shown_and_not_billed() {
    let w = World::new(1 << 20, Limits { settle_s: 300, ..limits() }).await;
    let edge = w.start().await;
    let mut c = open(&edge).await;
    let session = edge.session().clone();
    // An answer may reach its client a moment before it is counted.
    let settled = async || w.allowance(&plan_bucket()).await.leases[&session].settled;
    eventually("its first bytes are settled", || async { edge.settle().await && settled().await == 8 }).await;
    echo(&mut c, 100).await;
    drop(edge);
    let settled = settled().await;
    let billed = w.rows().await.bytes();
    assert_eq!((settled, billed), (8, 8));
    w.store.declare_lost(&session, None, w.now()).await.unwrap();
    let lost = w.store.lose_lease(&demo(), &plan_bucket(), &session).await.unwrap().unwrap();

    // Its roster forgets the lease, and the start fails all the same: the next one bills nothing either.
    let faults = Faults::script(Vec::<Step>::new());
    (0..3).for_each(|_| faults.push(Step::from(Fault::LostAck).on("DeleteItem").table("t-usage")));
    let store = Store::new(w.engine.client_with(Arc::clone(&faults)), "t-");
    assert!(w.try_start(store).await.is_err());
    let edge = w.start().await;
    let late = w.store.late(&demo()).await.unwrap();
    assert_eq!(late.iter().map(|l| (&l.session, l.bytes())).collect::<Vec<_>>(), [(&session, 200)]);
    assert_eq!(w.rows().await.bytes(), billed, "no row is raised");
    let held = w.allowance(&plan_bucket()).await;
    assert_eq!((held.leases[&session].state, held.used()), (LeaseState::Lost, lost.taken));
    assert!(!w.store.holds_something(&session).await.unwrap(), "its roster is done");
    assert_eq!(w.files().len(), 1, "the journal of the new life alone");
    edge.drain(Duration::ZERO).await.unwrap();
}
