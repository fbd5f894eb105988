//! Usage events: once however often they are written, in order, for thirty days.

use tollgate_domain::id::ProxyId;
use tollgate_domain::usage_event::{EventKind, KEPT, UsageEvent};
use tollgate_engine::Recorder;
use tollgate_store::events::EventPage;

use super::*;

/// The UTC day of `at(0)`.
const DAY: &str = "2027-01-15";

fn proxy(n: u64) -> ProxyId {
    ProxyId { provider: "brd".parse().unwrap(), ip: format!("203.0.113.{n}") }
}

/// What happened to a connection over proxy `number % 3`.
fn event(number: u64, kind: EventKind, at: Timestamp) -> UsageEvent {
    UsageEvent {
        connection: format!("e1.1-{number}").parse().unwrap(),
        kind,
        seq: 0,
        at,
        line: "chip1".parse().unwrap(),
        proxy: Some(proxy(number % 3)),
        ingress: number,
        egress: 2 * number,
        duration_ms: 10,
        reason: None,
        source: Some("203.0.113.7".parse().unwrap()),
    }
}

fn ends(numbers: std::ops::Range<u64>) -> Vec<UsageEvent> {
    numbers.map(|n| event(n, EventKind::ConnectionEnd, at(n))).collect()
}

async fn day(store: &Store, now: Timestamp) -> Vec<UsageEvent> {
    store.events(&demo(), DAY, None, None, 1000, now).await.unwrap().events
}

/// All pages of so many events, each with how many it has.
async fn paged(store: &Store, of: Option<&ProxyId>, limit: usize) -> (Vec<UsageEvent>, Vec<usize>) {
    let (mut all, mut sizes, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = store.events(&demo(), DAY, of, after.as_ref(), limit, at(0)).await.unwrap();
        sizes.push(page.events.len());
        all.extend(page.events);
        after = page.next;
        if after.is_none() {
            return (all, sizes);
        }
    }
}

#[tokio::test]
async fn an_event_that_is_written_again_is_the_same_one() {
    let (engine, s) = store().await;
    let events = ends(0..60);
    s.record_events(&demo(), &events).await.unwrap();
    s.record_events(&demo(), &events[10..40]).await.unwrap();
    // Twice in one call, too.
    s.record_events(&demo(), &[events[0].clone(), events[0].clone()]).await.unwrap();
    let (weak, faults) = losing(&engine, "BatchWriteItem");
    weak.record_events(&demo(), &ends(55..70)).await.unwrap();
    assert_eq!(faults.left(), 0);
    assert_eq!(day(&s, at(0)).await, ends(0..70));
    assert!(s.record_events(&demo(), &[]).await.is_ok());
    let other = s.events(&"other".parse().unwrap(), DAY, None, None, 10, at(0)).await.unwrap();
    assert_eq!(other, EventPage { events: Vec::new(), next: None });
}

#[tokio::test]
async fn a_rough_store_takes_each_event_once() {
    let (engine, s) = store().await;
    let (rough, faults) = rough(&engine, 8);
    for chunk in ends(0..300).chunks(30) {
        insist!(rough.record_events(&demo(), chunk));
    }
    assert!(faults.injected().lost_ack > 0, "{:?}", faults.injected());
    assert_eq!(day(&s, at(0)).await, ends(0..300));
}

#[tokio::test]
async fn a_batch_of_twenty_five_is_one_call_and_each_event_one_unit() {
    let (engine, s) = store().await;
    let recorder = Recorder::new();
    let store = Store::new(engine.client_recorded(recorder.clone()), "");
    // The largest that an edge can make.
    let longest = |n: u64| UsageEvent {
        connection: format!("{}.{}-{}", "e".repeat(32), u64::MAX, u64::MAX - n).parse().unwrap(),
        seq: u32::MAX,
        line: "l".repeat(64).parse().unwrap(),
        proxy: Some(ProxyId { provider: "p".repeat(32).parse().unwrap(), ip: "i".repeat(64) }),
        ingress: u64::MAX,
        egress: u64::MAX,
        duration_ms: u64::MAX,
        reason: Some("ASSIGN_IN_PROGRESS".into()),
        source: Some("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap()),
        ..event(n, EventKind::ConnectionStart, at(n))
    };
    let events: Vec<_> = (0..30).map(longest).collect();
    store.record_events(&"c".repeat(32).parse().unwrap(), &events).await.unwrap();
    assert_eq!(recorder.operations(), ["BatchWriteItem", "BatchWriteItem"]);
    let used = recorder.consumed();
    assert_eq!((used.read, used.write), (0.0, 30.0));
    assert_eq!(s.events(&"c".repeat(32).parse().unwrap(), DAY, None, None, 30, at(0)).await.unwrap().events, events);
}

#[tokio::test]
async fn events_of_a_day_are_in_order_and_come_page_by_page() {
    let (_e, s) = store().await;
    let mut events = ends(0..70);
    events.reverse();
    s.record_events(&demo(), &events).await.unwrap();
    let tomorrow = event(99, EventKind::ConnectionEnd, at(24 * 3600));
    s.record_events(&demo(), std::slice::from_ref(&tomorrow)).await.unwrap();
    assert_eq!(paged(&s, None, 30).await, (ends(0..70), vec![30, 30, 10]));
    assert_eq!(paged(&s, None, 35).await, (ends(0..70), vec![35, 35, 0]));
    let next = s.events(&demo(), "2027-01-16", None, None, 10, at(0)).await.unwrap();
    assert_eq!(next, EventPage { events: vec![tomorrow], next: None });
}

#[tokio::test]
async fn of_one_moment_a_start_stands_before_its_end() {
    let (_e, s) = store().await;
    let mut events: Vec<_> = EventKind::ALL.into_iter().map(|kind| event(1, kind, at(5))).collect();
    events.insert(2, UsageEvent { seq: 1, ..events[1].clone() });
    let mut written = events.clone();
    written.reverse();
    s.record_events(&demo(), &written).await.unwrap();
    assert_eq!(day(&s, at(5)).await, events);
}

#[tokio::test]
async fn a_proxys_events_are_found_among_its_customers() {
    let (_e, s) = store().await;
    s.record_events(&demo(), &ends(0..2500)).await.unwrap();
    let of_it: Vec<_> = ends(0..2500).into_iter().filter(|e| e.proxy == Some(proxy(1))).collect();
    assert_eq!(paged(&s, Some(&proxy(1)), 100).await.0, of_it);
    // Nothing of another is found, and no page looks at more than a thousand.
    let (none, pages) = paged(&s, Some(&proxy(77)), 100).await;
    assert!(none.is_empty() && pages.len() == 3, "{pages:?}");
}

#[tokio::test]
async fn nobody_sees_an_event_after_thirty_days() {
    let (engine, s) = store().await;
    s.record_events(&demo(), &ends(0..10)).await.unwrap();
    assert_eq!(day(&s, at(4).plus(KEPT)).await, ends(5..10));
    assert!(day(&s, at(9).plus(KEPT)).await.is_empty());
    // Collected some time after that.
    let items = engine.client().scan().table_name("usage").send().await.unwrap().items.unwrap();
    let due = |ttl: &str| ttl.parse::<u64>().unwrap() - KEPT.as_secs();
    let mut due: Vec<_> = items.iter().map(|i| due(i["ttl"].as_n().unwrap())).collect();
    due.sort_unstable();
    assert_eq!(due, (0..10).map(|n| at(n).as_secs()).collect::<Vec<_>>());
}
