//! What customers and edges cost at the store: units of each operation, as counted behind the edge's
//! doors; operations an hour, from the intervals that ship; and the customer-hour that follows.
//!
//! Operations are counted over true time, but only bounded from above, by the time that passed: a slow
//! machine makes fewer of them.

mod bill;

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tollgate_domain::budget::{LEASE_FIRST, LEASE_FLOOR, aim, lease_size};
use tollgate_domain::plan::Limits;
use tollgate_domain::strike::SAMPLE;
use tollgate_edge::EdgeConfig;

use crate::support::world::{PASSWORD, demo, limits};
use crate::support::{World, connect, eventually, read_all, status};
use bill::{Bill, metered, without_timers};

const PATIENCE: Duration = Duration::from_secs(60);
/// One megabit, in bytes.
const MBIT: u64 = 125_000;
/// Seconds between settlements, in every plan of the catalogue and where a plan says nothing.
const SETTLE: Duration = Duration::from_secs(5);

/// What a proxy carried is told at most this often.
const TOLD: Duration = Duration::from_secs(60);

/// Write units of a take or of a settlement of a lease.
const LEASE: u64 = 1;
/// Write units of a daily row.
const ROW: u64 = 1;
/// Read units of a report of what a customer uses.
const REPORT: u64 = 1;
/// Read units of a resync: profile, credential, listed sources of one address, share, buckets.
const RESYNC: u64 = 5;
/// Read units of a look at the feed: eight partitions, consistently.
const LOOK: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_customer_costs_one_read_a_sample_and_no_write() {
    let mut w = World::new(1 << 30, Limits { settle_s: 0, ..limits() }).await;
    let shipped = EdgeConfig::new("edge1".parse().unwrap(), w.data_dir());
    (w.config.feed_interval, w.config.linger) = (shipped.feed_interval, shipped.linger);
    // A heartbeat that a machine's stall delays is told of in the share, which is a write.
    w.config.dead_after = Duration::from_secs(86_400);
    let (edge, recorder) = metered(&w).await;
    let (_c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    // What its coming costs.
    assert!(edge.settle().await);
    let in_use = async || w.store.cap(&demo()).await.unwrap().map_or(0, |c| c.in_use());
    eventually("its share tells of the tunnel", || async { in_use().await == 1 }).await;
    let looked = || Bill::of(&recorder).get("Query", "t-usage").calls >= 3 * LOOK;
    eventually("the feed has told of its coming", || async { looked() }).await;
    recorder.clear();

    let began = Instant::now();
    let rounds = || {
        let bill = Bill::of(&recorder);
        bill.get("GetItem", "t-usage").calls >= 2 && bill.get("UpdateItem", "t-usage").calls >= 2
    };
    eventually("two reports and two heartbeats", || async { rounds() }).await;
    let bill = Bill::of(&recorder);
    let most = |every: Duration| most(began.elapsed(), every);

    let reports = bill.get("GetItem", "t-usage");
    assert!(reports.calls <= most(SAMPLE), "{bill:?}");
    assert!(reports.read_units() <= reports.calls * REPORT, "{bill:?}");
    let beats = bill.get("UpdateItem", "t-usage");
    assert!(beats.calls <= most(shipped.heartbeat_interval), "{bill:?}");
    assert_eq!(beats.write_units(), beats.calls, "{bill:?}");
    let looks = bill.get("Query", "t-usage");
    assert!(looks.calls <= LOOK * most(shipped.feed_interval), "{bill:?}");
    assert_eq!(looks.read_units(), looks.calls, "{bill:?}");
    assert_eq!(bill.write_units(), beats.write_units(), "an idle customer writes nothing: {bill:?}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resync_of_a_customer_is_five_reads() {
    let mut w = World::new(1 << 30, Limits { settle_s: 3600, ..limits() }).await;
    without_timers(&mut w);
    w.config.resync_interval = Duration::from_millis(200);
    let (edge, recorder) = metered(&w).await;
    let (_c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(edge.settle().await);
    let in_use = async || w.store.cap(&demo()).await.unwrap().map_or(0, |c| c.in_use());
    eventually("its share tells of the tunnel", || async { in_use().await == 1 }).await;
    recorder.clear();
    let began = Instant::now();
    let looks = || Bill::of(&recorder).get("Query", "t-usage").calls;
    eventually("eight resyncs", || async { looks() >= 8 }).await;
    let bill = Bill::of(&recorder);
    // A few may be under way.
    let resyncs = bill.get("Query", "t-usage").calls + 4;
    assert!(bill.get("GetItem", "t-accounts").calls <= 3 * resyncs, "{bill:?}");
    assert!(bill.read_units() <= RESYNC * resyncs + most(began.elapsed(), SAMPLE) * REPORT, "{bill:?}");
    assert_eq!(bill.write_units(), 0, "{bill:?}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_flow_are_settled_every_five_seconds_and_no_more_often() {
    let mut w = World::new(1 << 30, Limits { settle_s: 0, ..Limits::default() }).await;
    without_timers(&mut w);
    let (edge, recorder) = metered(&w).await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    assert!(edge.settle().await);
    recorder.clear();
    let began = Instant::now();
    let settlements = || Bill::of(&recorder).get("UpdateItem", "t-usage").calls;
    let flow = async {
        while settlements() < 2 {
            c.write_all(b"x").await.unwrap();
            c.read_exact(&mut [0]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, flow).await.expect("two settlements");
    let bill = Bill::of(&recorder);
    let (most, beside) = (most(began.elapsed(), SETTLE), beside(began.elapsed()));
    let (rows, leases) = (bill.get("PutItem", "t-usage"), bill.get("UpdateItem", "t-usage"));
    assert!(rows.calls <= most + beside && leases.calls <= most, "{bill:?}");
    assert_eq!((rows.write_units(), leases.write_units()), (rows.calls * ROW, leases.calls * LEASE), "{bill:?}");
    assert!(bill.read_units() <= beside, "{bill:?}");
    edge.drain(Duration::ZERO).await.unwrap();
}

/// What so many intervals cost in which so many kilobytes flow, and how long they took.
async fn carried(kilobytes: u64, intervals: u64) -> (Bill, Duration) {
    let mut w = World::new(1 << 40, Limits { settle_s: 3600, ..Limits::default() }).await;
    without_timers(&mut w);
    let (edge, recorder) = metered(&w).await;
    let interval = async || {
        let target = format!("kilobytes.test:{kilobytes}");
        let (mut c, head) = connect(edge.gateway_addr(), &target, "demo", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        assert_eq!(read_all(&mut c).await.len() as u64, kilobytes * 1000);
        assert!(edge.settle().await);
    };
    interval().await;
    recorder.clear();
    let began = Instant::now();
    for _ in 0..intervals {
        interval().await;
    }
    let (bill, took) = (Bill::of(&recorder), began.elapsed());
    edge.drain(Duration::from_secs(5)).await.unwrap();
    (bill, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabits_cost_what_one_costs_but_for_takes() {
    const INTERVALS: u64 = 3;
    let slow = MBIT * SETTLE.as_secs();
    for (bytes, takes) in [(slow, 1 + INTERVALS * slow / LEASE_FLOOR), (100 * slow, 100)] {
        let (bill, took) = carried(bytes / 1000, INTERVALS).await;
        let beside = beside(took);
        let (rows, leases) = (bill.get("PutItem", "t-usage"), bill.get("UpdateItem", "t-usage"));
        println!("{INTERVALS} intervals of {bytes} bytes: {} rows, {} takes and settlements", rows.calls, leases.calls);
        assert!((INTERVALS..=INTERVALS + beside).contains(&rows.calls), "{bill:?}");
        // How many takes there are is arithmetic, see below; here it is bounded, for a machine that stands still.
        assert!(leases.calls <= INTERVALS + takes, "{bill:?}");
        assert_eq!((rows.write_units(), leases.write_units()), (rows.calls * ROW, leases.calls * LEASE), "{bill:?}");
        assert!(bill.read_units() <= beside, "{bill:?}");
    }
}

/// Takes in an hour at so many bytes a second, as the edge sizes them and asks for them: the next at half
/// of the last. Stops where the bucket is empty.
fn takes_an_hour(rate: u64, mut available: u64) -> u64 {
    let mut desired = LEASE_FIRST;
    let (mut left, mut moved, mut now_ms, mut takes) = (0u64, 0u64, 0u64, 0u64);
    let mut took: Option<(u64, u64)> = None;
    while now_ms < 3_600_000 {
        if let Some((at, before)) = took {
            desired = aim(desired, moved - before, Duration::from_millis(now_ms - at));
        }
        let got = lease_size(desired, available, 1);
        if got == 0 {
            break;
        }
        (available, left, takes, took) = (available - got, left + got, takes + 1, Some((now_ms, moved)));
        let wait_ms = ((left - got / 2) * 1000).div_ceil(rate).max(1);
        let flows = (rate * wait_ms / 1000).min(left);
        (left, moved, now_ms) = (left - flows, moved + flows, now_ms + wait_ms);
    }
    takes
}

#[test]
fn there_is_a_take_for_five_seconds_of_any_rate_while_the_bucket_is_large() {
    let (slow, fast) = (takes_an_hour(MBIT, 1 << 40), takes_an_hour(100 * MBIT, 1 << 40));
    println!("takes an hour: {slow} at 1 Mbit/s, {fast} at 100 Mbit/s");
    assert!(slow <= 725 && fast <= 725 && slow.abs_diff(fast) <= 5, "{slow} {fast}");
    // Where a bucket comes to its end takes are small, whatever the rate: so many for the whole of it.
    let spent = [1 << 30, 10 << 30].map(|bytes| takes_an_hour(100 * MBIT, bytes));
    println!("takes of a whole bucket at 100 Mbit/s: {} of 1 GiB, {} of 10 GiB", spent[0], spent[1]);
    assert!(spent[0] <= 700 && spent[1] <= 1000, "{spent:?}");
}

#[test]
fn an_active_customer_hour_is_bounded_whatever_its_rate() {
    let hour = Duration::from_secs(3600);
    let an_hour = |every: Duration| u64::try_from(hour.as_millis().div_ceil(every.as_millis())).unwrap();
    let shipped = EdgeConfig::new("edge1".parse().unwrap(), "unused");
    // Resyncs come up to a fifth earlier than they are due.
    let resyncs = an_hour(shipped.resync_interval * 4 / 5);
    let reads = an_hour(SAMPLE) * REPORT + resyncs * RESYNC;
    for (what, rate, most) in [("idle", 0, 0), ("1 Mbit/s", MBIT, 2_300), ("100 Mbit/s", 100 * MBIT, 2_300)] {
        let settled = if rate == 0 { 0 } else { an_hour(SETTLE) * (LEASE + ROW) };
        let takes = if rate == 0 { 0 } else { takes_an_hour(rate, 1 << 40) * LEASE };
        // What the proxy carried; the day's mark.
        let told = if rate == 0 { 0 } else { an_hour(TOLD) + 1 };
        let writes = settled + takes + told;
        println!("customer-hour, {what}: {reads} read units, {writes} write units");
        assert!(reads <= 800 && writes <= most, "{what}: {reads} {settled} {takes} {told}");
    }
    let (looks, beats) = (an_hour(shipped.feed_interval) * LOOK, an_hour(shipped.heartbeat_interval));
    println!("edge-hour, alone: {looks} read units, {beats} write units");
    assert!(looks <= 28_800 && beats <= 720, "{looks} {beats}");
}

/// Writes beside the rows, and reads: the mark of a day, and what a proxy carried.
fn beside(time: Duration) -> u64 {
    1 + most(time, TOLD)
}

/// The most that may happen in `time` of what happens at most once in `every`: one may have been due
/// before, and one is due at its beginning.
fn most(time: Duration, every: Duration) -> u64 {
    u64::try_from(time.as_millis() / every.as_millis()).unwrap() + 2
}
