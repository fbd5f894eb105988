//! A ban closes every socket of the customer, on every edge, within two seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_domain::customer::Ban;
use tollgate_domain::time::Clock as _;
use tollgate_store::SystemClock;

use super::fleet::Fleet;
use super::life::Life;
use super::tunnel::Tunnel;
use super::{PLENTY, long};
use crate::support::descriptors::as_many_as_allowed;
use crate::support::stalls::Stalls;
use crate::support::world::{PASSWORD, demo};
use crate::support::{connect, status};

/// Said of the reach of a change.
const REACH: Duration = Duration::from_secs(2);
/// After this time a tunnel is not late but forgotten.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tunnels that an edge opens at the same moment.
const AT_ONCE: usize = 8;
/// Descriptors of all but tunnels.
const REST: usize = 1000;

/// Edges, and tunnels of each.
fn size() -> (usize, usize) {
    let (edges, tunnels) = if long() { (8, 1000) } else { (4, 100) };
    // Both ends of a tunnel are in this process.
    (edges, tunnels.min(as_many_as_allowed().saturating_sub(REST) / (2 * edges)))
}

async fn standing(fleet: &Fleet, life: &Life, n: usize) -> Tunnel {
    let mut tunnel = fleet.open(life, "echo", &format!("l{}", n % 8)).await;
    tunnel.ping().await;
    tunnel
}

/// The time within which 99 of 100 are over.
fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() * 99).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_closes_the_sockets_of_all_edges_within_two_seconds() {
    let (edges, each) = size();
    let fleet = Fleet::start(PLENTY).await;
    let lives = fleet.edges(edges).await;
    let mut tunnels = Vec::new();
    for first in (0..each).step_by(AT_ONCE) {
        let batch = lives.iter().flat_map(|life| (first..each.min(first + AT_ONCE)).map(move |n| (life, n)));
        tunnels.extend(join_all(batch.map(|(life, n)| standing(&fleet, life, n))).await);
    }
    assert_eq!(tunnels.len(), edges * each);

    let stalls = Arc::new(Stalls::watch());
    let (began, stood) = (Instant::now(), stalls.sum());
    let ban = Ban { at: SystemClock.now(), reason: "abuse".into(), by: "op".into() };
    fleet.w.store.ban_customer(&demo(), ban, SystemClock.now()).await.unwrap().unwrap();
    let mut closings = JoinSet::new();
    for tunnel in tunnels {
        let stalls = Arc::clone(&stalls);
        closings.spawn(async move {
            let counted = tunnel.download().await;
            (counted, began.elapsed(), stalls.sum() - stood)
        });
    }
    let mut times = Vec::new();
    let closed = timeout(PATIENCE, closings.join_all()).await.expect("tunnels go on");
    for (counted, took, stalled) in closed {
        assert!(counted.whole, "{counted:?}");
        fleet.note(counted);
        // What this machine slept through is not the edges' time.
        times.push((took, took.saturating_sub(stalled)));
    }
    let (by_the_clock, awake) = (p99(times.iter().map(|t| t.0).collect()), p99(times.iter().map(|t| t.1).collect()));
    println!("{edges} x {each} tunnels: 99 % closed after {by_the_clock:?}, {awake:?} but for stalls");
    assert!(awake <= REACH, "{awake:?}, by the clock {by_the_clock:?}");

    for life in &lives {
        let (_c, head) = connect(life.gateway, "echo.late.test:443", "demo", PASSWORD).await;
        assert!(status(&head) == 403 && head.contains("X-Tollgate-Error: BANNED\r\n"), "{head}");
    }
    join_all(lives.into_iter().map(Life::end)).await;
    fleet.is_exact().await;
    fleet.check(0).await;
}
