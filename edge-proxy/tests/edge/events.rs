//! Usage events: what is written of connections, once, under each setting; and that nothing is
//! billed otherwise for it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::usage_event::{EventKind, Recording, UsageEvent};
use tollgate_edge::Edge;
use tollgate_engine::{Fault, Faults, Recorder, Step};
use tollgate_store::Store;

use crate::support::metrics::metric;
use crate::support::upstream::Mood;
use crate::support::world::{NOON, PASSWORD, demo, limits, plan_bucket};
use crate::support::{World, basic, connect, eventually, read_all, status};

/// The target's fault: nothing else is tried.
const BROKEN: &str = "HTTP/1.1 502 Bad Gateway\r\nX-Brd-Err-Code: target_40001\r\n\r\n";

/// A world whose edges write these events.
async fn world(events: Recording) -> World {
    let mut w = World::new(1 << 30, limits()).await;
    w.config.usage_events = events;
    w
}

async fn events(w: &World) -> Vec<UsageEvent> {
    let page = w.store.events(&demo(), &NOON.day(), None, None, 1000, w.now()).await.unwrap();
    assert!(page.next.is_none());
    page.events
}

fn kinds(events: &[UsageEvent]) -> Vec<EventKind> {
    events.iter().map(|e| e.kind).collect()
}

/// A tunnel that moves `n` bytes each way and is finished.
async fn echo(edge: &Edge, user: &str, n: usize) {
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", user, PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    exchange(&mut c, n).await;
    c.shutdown().await.unwrap();
    assert!(read_all(&mut c).await.is_empty());
}

async fn exchange(c: &mut TcpStream, n: usize) {
    c.write_all(&vec![b'x'; n]).await.unwrap();
    c.read_exact(&mut vec![0; n]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_tells_its_start_and_its_end_with_exact_bytes() {
    let w = world(Recording::On).await;
    let edge = w.start().await;
    echo(&edge, "demo-line-chip1", 10_001).await;
    let session = edge.session().clone();
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let told = events(&w).await;
    assert_eq!(kinds(&told), [EventKind::ConnectionStart, EventKind::ConnectionEnd]);
    let [start, end] = &told[..] else { panic!("{told:?}") };
    assert_eq!((start.ingress, start.egress, end.ingress, end.egress), (0, 0, 10_001, 10_001));
    assert_eq!((start.connection.number, &start.connection.session), (end.connection.number, &session));
    assert_eq!((start.reason.as_deref(), end.reason.as_deref()), (None, Some("finished")));
    for e in &told {
        assert_eq!((e.at, e.seq, e.line.as_str()), (NOON, 0, "chip1"));
        assert_eq!(e.proxy.as_ref().map(ToString::to_string).as_deref(), Some("brd/203.0.113.7"));
        assert_eq!(e.source, Some("127.0.0.1".parse().unwrap()));
    }
    // Billed is what the rows say, as ever.
    assert_eq!((w.rows().await.bytes(), w.allowance(&plan_bucket()).await.folded), (20_002, 20_002));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_absolute_form_tells_the_same_when_it_is_over() {
    let w = world(Recording::On).await;
    let edge = w.start().await;
    let auth = basic("demo", PASSWORD);
    let ask = format!(
        "GET http://origin.test/secret?token=hidden HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\nProxy-Authorization: {auth}\r\n\r\n"
    );
    let mut c = TcpStream::connect(edge.gateway_addr()).await.unwrap();
    c.write_all(ask.as_bytes()).await.unwrap();
    let answer = String::from_utf8(read_all(&mut c).await).unwrap();
    drop(c);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let told = events(&w).await;
    assert_eq!(kinds(&told), [EventKind::ConnectionStart, EventKind::ConnectionEnd]);
    assert_eq!((told[1].ingress, told[1].egress), (ask.len() as u64, answer.len() as u64));
    assert!(!format!("{told:?}").contains("secret") && !format!("{told:?}").contains("hidden"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_dial_is_an_error_and_a_stranger_is_none() {
    let w = World::new(1 << 30, limits()).await;
    assert_eq!(w.config.usage_events, Recording::Errors, "by default");
    w.upstream.set(Mood::Says(BROKEN));
    let edge = w.start().await;
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo-line-chip1", PASSWORD).await;
    assert_eq!(status(&head), 502, "{head}");
    let (_c, head) = connect(edge.gateway_addr(), "mail.test:25", "demo-line-chip1", PASSWORD).await;
    assert_eq!(status(&head), 403, "{head}");
    // Who was not admitted costs nothing.
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", "wrong").await;
    assert_eq!(status(&head), 407, "{head}");
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let mut told: Vec<_> = events(&w).await.into_iter().map(|e| (e.kind, e.reason.clone(), e.bytes())).collect();
    told.sort();
    let error = |code: &'static str| (EventKind::Error, Some(Cow::Borrowed(code)), 0u64);
    assert_eq!(told, [error("DEST_BLOCKED"), error("UPSTREAM_CONNECT")]);
    assert_eq!(w.rows().await.bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_errors_a_connection_that_goes_well_is_not_told() {
    let w = world(Recording::Errors).await;
    let edge = w.start().await;
    echo(&edge, "demo", 1000).await;
    w.upstream.set(Mood::Once(BROKEN));
    let (_c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 502, "{head}");
    echo(&edge, "demo", 1000).await;
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(kinds(&events(&w).await), [EventKind::Error]);
    assert_eq!(w.rows().await.bytes(), 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_nothing_is_written_and_no_call_is_made() {
    let w = world(Recording::Off).await;
    let recorder = Recorder::new();
    let edge = w.try_start(Store::new(w.engine.client_recorded(Arc::clone(&recorder)), "t-")).await.unwrap();
    echo(&edge, "demo", 1000).await;
    let (_c, head) = connect(edge.gateway_addr(), "mail.test:25", "demo", PASSWORD).await;
    assert_eq!(status(&head), 403, "{head}");
    assert!(edge.settle().await);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert!(events(&w).await.is_empty());
    assert!(!recorder.operations().iter().any(|o| o == "BatchWriteItem"));
    assert_eq!(w.rows().await.bytes(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_doubles_no_event_and_a_store_that_refuses_gets_them_later() {
    let w = world(Recording::On).await;
    let faults = Faults::script([Step::from(Fault::LostAck).on("BatchWriteItem")]);
    let edge = w.try_start(Store::new(w.engine.client_with(Arc::clone(&faults)), "t-")).await.unwrap();
    echo(&edge, "demo", 10).await;
    eventually("both are written", || async { edge.settle().await && events(&w).await.len() == 2 }).await;
    assert_eq!(faults.left(), 0);
    // All attempts of the SDK: applied, and the edge does not hear of it.
    (0..3).for_each(|_| faults.push(Step::from(Fault::LostAck).on("BatchWriteItem")));
    echo(&edge, "demo", 10).await;
    eventually("the answers are lost", || async { edge.settle().await && faults.left() == 0 }).await;
    // What moved is settled all the same.
    assert_eq!(w.rows().await.bytes(), 40);
    let admin = edge.admin_addr();
    let written = || async { edge.settle().await && metric(admin, "usage_events_written_total").await == 4 };
    eventually("all are written, and known to be", written).await;
    for none in ["usage_events_waiting", "usage_events_dropped_total"] {
        assert_eq!(metric(admin, none).await, 0, "{none}");
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(events(&w).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_event_costs_no_byte_and_no_clean_end() {
    let w = world(Recording::On).await;
    let faults = Faults::script(Vec::<Step>::new());
    // More than anybody asks for meanwhile.
    (0..10_000).for_each(|_| faults.push(Step::from(Fault::Throttle).on("BatchWriteItem")));
    let edge = w.try_start(Store::new(w.engine.client_with(Arc::clone(&faults)), "t-")).await.unwrap();
    echo(&edge, "demo", 5000).await;
    assert!(edge.settle().await, "the books do not mind");
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.bytes(), w.allowance(&plan_bucket()).await.folded), (10_000, 10_000));
    assert!(events(&w).await.is_empty());
    assert!(w.files().is_empty(), "{:?}", w.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_tunnel_tells_what_it_has_moved_once_a_minute() {
    let w = world(Recording::On).await;
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let told = async || {
        assert!(edge.settle().await);
        let all = events(&w).await;
        let transfers = all.iter().filter(|e| e.kind == EventKind::DataTransfer);
        transfers.map(|e| (e.seq, e.ingress, e.egress)).collect::<Vec<_>>()
    };
    let counted = async |bytes: u64| {
        let both = || async {
            let seen = edge.snapshot();
            seen.ingress + seen.egress == bytes
        };
        eventually("the bytes are counted", both).await;
    };
    exchange(&mut c, 1000).await;
    counted(2000).await;
    assert!(told().await.is_empty());
    w.clock.jump(Duration::from_secs(61));
    assert_eq!(told().await, [(0, 1000, 1000)]);
    // Nothing new within the minute, and nothing in a minute in which nothing moves.
    exchange(&mut c, 500).await;
    counted(3000).await;
    assert_eq!(told().await.len(), 1);
    w.clock.jump(Duration::from_secs(61));
    assert_eq!(told().await, [(0, 1000, 1000), (1, 1500, 1500)]);
    w.clock.jump(Duration::from_secs(61));
    assert_eq!(told().await.len(), 2);
    c.shutdown().await.unwrap();
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let end = events(&w).await.pop().unwrap();
    assert_eq!((end.kind, end.ingress, end.egress), (EventKind::ConnectionEnd, 1500, 1500));
}
