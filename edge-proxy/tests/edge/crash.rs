//! What a crash leaves behind is settled by the next start: billed ≤ moved ≤ billed + doubt.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate_domain::plan::Limits;
use tollgate_edge::{JournalError, StartError};
use tollgate_store::Store;

use crate::support::world::{NOON, PASSWORD, demo, limits, plan_bucket};
use crate::support::{World, connect, read_all, status};

const GIB: u64 = 1 << 30;
/// Largest operation, for each of two workers.
const DOUBT: u64 = 2 * (64 << 10);

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_stops_without_draining_is_settled_by_its_next_start() {
    let w = World::new(GIB, limits()).await;
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    for _ in 0..3 {
        c.write_all(&[b'x'; 1000]).await.unwrap();
        c.read_exact(&mut [0; 1000]).await.unwrap();
        // Some settlements happen before the crash, some bytes come after the last.
        assert!(edge.settle().await);
    }
    c.write_all(&[b'x'; 77]).await.unwrap();
    c.read_exact(&mut [0; 77]).await.unwrap();
    drop(edge);
    assert_eq!(w.files().len(), 1, "the journal stays");
    assert!(!w.allowance(&plan_bucket()).await.leases.is_empty());

    let edge = w.start().await;
    assert_eq!(edge.session().epoch, 2);
    let a = w.allowance(&plan_bucket()).await;
    assert!(a.leases.is_empty(), "{a:?}");
    assert_eq!(a.folded, 2 * 3077, "stopped between operations: no doubt");
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (3077, 3077));
    edge.drain(Duration::from_secs(1)).await.unwrap();
    assert!(w.files().is_empty());
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 2 * 3077);
    assert_eq!(w.rows().await.bytes(), 2 * 3077);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_is_settled_late_marks_its_day_anew_and_tells_of_its_proxy() {
    let w = World::new(GIB, Limits { settle_s: 300, ..limits() }).await;
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let mut echo = async |n: usize| {
        c.write_all(&vec![b'x'; n]).await.unwrap();
        c.read_exact(&mut vec![0; n]).await.unwrap();
    };
    echo(1000).await;
    assert!(edge.settle().await);
    let session = edge.session().clone();
    let proxy = w.store.usage(&demo(), &NOON.month()).await.unwrap().remove(0).0.proxy;
    let told = w.store.proxy_use(&proxy, &demo(), &session).await.unwrap().unwrap();
    assert_eq!((told.bytes, told.open), (2000, 1));
    echo(77).await;
    drop(edge);
    let marked = w.marked().await;
    let [day] = &marked[..] else { panic!("{marked:?}") };
    assert!(day.marks.iter().all(|m| !m.passed), "{day:?}");
    assert!(w.store.strike_day(day).await.unwrap());
    let edge = w.start().await;
    assert_eq!(w.rows().await.bytes(), 2 * 1077);
    assert_eq!(w.marked().await.len(), 1, "what was raised is not in the sum");
    let told = w.store.proxy_use(&proxy, &demo(), &session).await.unwrap().unwrap();
    assert_eq!((told.bytes, told.open), (2 * 1077, 0), "the proxy's summary is what its rows say");
    edge.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_never_bills_a_byte_that_did_not_move() {
    let w = World::new(GIB, limits()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tables = listener.local_addr().unwrap();
    let server = w.engine.serve(listener);
    let mut moved = 0;
    for round in 0..3 {
        let (mut child, gateway) = spawn_edge(&w, tables).await;
        let (mut c, head) = connect(gateway, "flood.test:1", "demo-line-a", PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        let mut buf = vec![0; 64 << 10];
        let until = moved + (3 + round) * (8 << 20);
        while moved < until {
            moved += c.read(&mut buf).await.unwrap() as u64;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What the edge had handed to the kernel still arrives.
        moved += read_all(&mut c).await.len() as u64;
    }
    let edge = w.start().await;
    let a = w.allowance(&plan_bucket()).await;
    assert!(a.leases.is_empty(), "{a:?}");
    let billed = w.rows().await.egress;
    let doubt = a.folded - billed;
    assert!(billed <= moved, "billed {billed}, moved {moved}");
    assert!(moved <= billed + doubt, "billed {billed}, doubt {doubt}, moved {moved}");
    assert!(doubt <= 3 * DOUBT, "{doubt}");
    edge.drain(Duration::from_secs(1)).await.unwrap();
    server.abort();
}

/// An edge in a process of its own, over the same store.
async fn spawn_edge(w: &World, tables: SocketAddr) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash::an_edge_for_another_test", "--exact", "--ignored", "--nocapture"])
        .env("TEST_TABLES", tables.to_string())
        .env("TEST_DATA_DIR", w.data_dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let find =
        move || out.lines().map_while(Result::ok).find_map(|l| l.split_once("gateway=").map(|(_, a)| a.to_owned()));
    let line = tokio::task::spawn_blocking(find).await.unwrap();
    (child, line.expect("the edge says where it listens").trim().parse().unwrap())
}

/// Not a story: what [`spawn_edge`] runs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by another test"]
async fn an_edge_for_another_test() {
    let Ok(tables) = std::env::var("TEST_TABLES") else { return };
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(format!("http://{tables}"))
        .build();
    let store = Store::new(aws_sdk_dynamodb::Client::from_conf(config), "t-");
    let mut w = World::new(0, limits()).await;
    w.config.data_dir = std::env::var("TEST_DATA_DIR").unwrap().into();
    let edge = w.try_start(store).await.unwrap();
    println!("gateway={}", edge.gateway_addr());
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_or_broken_journal_is_refused_before_anything_changes() {
    let mut w = World::new(1 << 20, limits()).await;
    let edge = w.start().await;
    let (c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200);
    drop((edge, c));
    let journal = w.data_dir().join(w.files().pop().unwrap());
    let good = std::fs::read(&journal).unwrap();

    w.config.edge = "edge2".parse().unwrap();
    let refused = w.try_start(w.store.clone()).await.unwrap_err();
    assert!(matches!(refused, StartError::Journal(JournalError::Foreign { .. })), "{refused}");
    let text = refused.to_string();
    assert!(text.contains(journal.to_str().unwrap()) && text.contains("edge edge1 wrote it"), "{text}");
    assert!(w.store.edge(&w.config.edge).await.unwrap().is_none(), "no epoch was taken");

    w.config.edge = "edge1".parse().unwrap();
    let mut bad = good.clone();
    bad[16] ^= 1;
    for broken in [&bad[..], &good[..100], &good[..good.len() - 8], &[]] {
        std::fs::write(&journal, broken).unwrap();
        let refused = w.try_start(w.store.clone()).await.unwrap_err();
        assert!(matches!(refused, StartError::Journal(JournalError::Broken { .. })), "{refused}");
    }
    std::fs::write(&journal, &good).unwrap();
    w.start().await.drain(Duration::ZERO).await.unwrap();
    assert!(w.allowance(&plan_bucket()).await.leases.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_without_a_free_slot_refuses_new_tunnels() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.usage_slots = 1;
    w.config.workers = 1;
    let edge = w.start().await;
    let (_c, head) = connect(edge.gateway_addr(), "silent.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let (_d, head) = connect(edge.gateway_addr(), "silent.test:1", "demo-line-b", PASSWORD).await;
    assert_eq!(status(&head), 503, "{head}");
    assert!(head.contains("EDGE_DRAINING"), "{head}");
    edge.drain(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_made_is_named() {
    let mut w = World::new(0, limits()).await;
    let file = w.data_dir().join("file");
    std::fs::write(&file, "").unwrap();
    w.config.data_dir = file.join("below");
    let refused = w.try_start(w.store.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("below"), "{refused}");
}
