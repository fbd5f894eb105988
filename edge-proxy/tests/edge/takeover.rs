//! A new process takes the listening sockets over while customers connect, and the old one ends
//! with its tunnels.

use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::share::Node;
use tollgate_edge::takeover::{ListenerKind, NamedListener};
use tollgate_edge::{Edge, takeover};

use crate::program::Around;
use crate::support::world::{PASSWORD, demo, limits, plan_bucket};
use crate::support::{World, basic, connect, eventually, read_head, status};

/// Ends its process with the test.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    async fn exit(&mut self) -> ExitStatus {
        eventually("it ends", || std::future::ready(self.0.try_wait().unwrap().is_some())).await;
        self.ended().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn epoch(w: &World) -> u64 {
    w.store.edge(&w.config.edge).await.unwrap().map_or(0, |row| row.epoch)
}

/// A tunnel whose bytes come back.
async fn echo(c: &mut TcpStream, bytes: &[u8]) {
    c.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    c.read_exact(&mut back).await.unwrap();
    assert_eq!(back, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_under_load_refuses_and_cuts_nobody() {
    let w = World::new(0, tollgate_domain::plan::Limits { settle_s: 1, ..Default::default() }).await;
    w.grant_for_today().await;
    let around = Around::start(&w).await;
    let start =
        |words: &[&str]| Running(around.program(&w).args(words).env("TOLLGATE_EDGE_DRAIN_S", "60").spawn().unwrap());
    let mut old = start(&[]);
    eventually("it listens", || async { TcpStream::connect(around.gateway).await.is_ok() }).await;

    let (mut long, head) = connect(around.gateway, "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut long, b"before").await;
    // Kept alive, and idle when the hand-over comes.
    let mut kept = TcpStream::connect(around.gateway).await.unwrap();
    assert_eq!(absolute(&mut kept).await.0, 200);

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done, gateway) = (Arc::clone(&stop), Arc::clone(&done), around.gateway);
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    // A refusal, a reset or half an answer fails the story.
                    let (mut c, head) = connect(gateway, "echo.test:1", "demo", PASSWORD).await;
                    assert_eq!(status(&head), 200, "{head}");
                    echo(&mut c, &[b'x'; 100]).await;
                    done.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    let more = |n: u64| {
        let (done, until) = (Arc::clone(&done), done.load(Ordering::Acquire) + n);
        async move { eventually("clients go on", || std::future::ready(done.load(Ordering::Acquire) >= until)).await }
    };
    more(20).await;
    let mut new = start(&["--takeover"]);
    eventually("the new one has started", || async { epoch(&w).await == 2 }).await;
    more(20).await;
    // The admin listener passed too: the one who answers is not draining.
    eventually("the new one is ready", || async { get(around.admin, "/readyz").await.starts_with("HTTP/1.1 200") })
        .await;

    // Three lives at once, the last started by the second.
    new.signal("-USR2");
    eventually("a third has started", || async { epoch(&w).await == 3 }).await;
    more(20).await;
    stop.store(true, Ordering::Release);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(new.exit().await.code(), Some(0), "it had no tunnel left");

    // What was opened before lives in the old process until it ends.
    assert_eq!(old.ended(), None);
    echo(&mut long, b"after").await;
    let (code, head) = absolute(&mut kept).await;
    assert_eq!(code, 200, "{head}");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{head}");
    drop((long, kept));
    assert_eq!(old.exit().await.code(), Some(0));

    let (mut c, head) = connect(around.gateway, "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut c, b"third").await;
    drop(c);
    // The third is no child of this test: the socket it offers tells who it is.
    let mut last = start(&["--takeover"]);
    eventually("a fourth has started", || async { epoch(&w).await == 4 }).await;
    eventually("only its journal is left", || async {
        let journals: Vec<_> = w.files().into_iter().filter(|f| f.starts_with("journal-")).collect();
        journals == ["journal-edge1-4.tgj"]
    })
    .await;
    last.signal("-TERM");
    assert_eq!(last.exit().await.code(), Some(0));
    assert!(w.files().is_empty(), "{:?}", w.files());
    let leases: usize = w.store.allowances(&demo()).await.unwrap().iter().map(|(_, a)| a.leases.len()).sum();
    assert_eq!(leases, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_cannot_start_changes_nothing() {
    let w = World::new(0, limits()).await;
    w.grant_for_today().await;
    let around = Around::start(&w).await;
    let mut old = Running(around.program(&w).spawn().unwrap());
    eventually("it listens", || async { TcpStream::connect(around.gateway).await.is_ok() }).await;
    // It receives the sockets, and dies before it serves: there is no store at that address.
    let mut wrong = around.program(&w);
    wrong.arg("--takeover").env("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1").env("AWS_MAX_ATTEMPTS", "1");
    let failed = tokio::task::spawn_blocking(move || wrong.output().unwrap()).await.unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let (mut c, head) = connect(around.gateway, "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut c, b"still here").await;
    drop(c);
    assert_eq!(old.ended(), None);
    assert_eq!(epoch(&w).await, 1);
    old.signal("-TERM");
    assert_eq!(old.exit().await.code(), Some(0));
    // Nobody to take over from.
    let mut alone = around.program(&w);
    alone.arg("--takeover");
    let out = tokio::task::spawn_blocking(move || alone.output().unwrap()).await.unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(around.said().contains("no edge answers"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_time_that_is_over_ends_the_old_process() {
    let w = World::new(0, limits()).await;
    w.grant_for_today().await;
    let around = Around::start(&w).await;
    let mut old = Running(around.program(&w).env("TOLLGATE_EDGE_DRAIN_S", "1").spawn().unwrap());
    eventually("it listens", || async { TcpStream::connect(around.gateway).await.is_ok() }).await;
    let (mut c, head) = connect(around.gateway, "echo.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let mut new = Running(around.program(&w).spawn().unwrap());
    // Nobody closes the tunnel.
    assert_eq!(old.exit().await.code(), Some(0));
    assert!(matches!(c.read(&mut [0]).await, Ok(0) | Err(_)));
    new.signal("-TERM");
    assert_eq!(new.exit().await.code(), Some(0));
}

/// A request in absolute form; the status and the head of the answer.
async fn absolute(c: &mut TcpStream) -> (u16, String) {
    let auth = basic("demo", PASSWORD);
    let ask = format!("GET http://web.test/hello HTTP/1.1\r\nHost: web.test\r\nProxy-Authorization: {auth}\r\n\r\n");
    c.write_all(ask.as_bytes()).await.unwrap();
    let head = read_head(c).await;
    crate::support::body_of(c, &head).await;
    (status(&head), head)
}

async fn get(admin: std::net::SocketAddr, path: &str) -> String {
    let Ok(mut c) = TcpStream::connect(admin).await else { return String::new() };
    let _ = c.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
    read_head(&mut c).await
}

// === two lives in one process ===

fn named(kind: ListenerKind) -> NamedListener {
    NamedListener::new(kind, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
}

async fn start_on(w: &World, listeners: &[NamedListener]) -> Edge {
    let clones = listeners.iter().map(|l| l.try_clone().unwrap()).collect();
    Edge::start_on(w.config.clone(), w.deps(w.store.clone()), clones).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_predecessor_is_no_crash() {
    let mut w = World::new(1 << 20, limits()).await;
    crate::lines::open_line(&w).await;
    w.config.heartbeat_interval = Duration::from_millis(50);
    let sockets = [named(ListenerKind::Gateway), named(ListenerKind::Admin)];
    let gateway = sockets[0].name.address;
    let mut old = start_on(&w, &sockets).await;
    let (mut a, head) = connect(gateway, "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut a, &[b'x'; 1000]).await;

    let new = start_on(&w, &sockets).await;
    old.leave();
    assert_eq!((old.session().epoch, new.session().epoch), (1, 2));
    let lease = |epoch: u64| {
        let w = &w;
        async move {
            let leases = w.allowance(&plan_bucket()).await.leases;
            leases.into_iter().find(|(s, _)| s.epoch == epoch).map(|(_, l)| l)
        }
    };
    assert!(lease(1).await.is_some(), "the lease of a living process is not settled");
    eventually("both are heard", || async {
        let row = w.store.edge(&w.config.edge).await.unwrap().unwrap();
        row.epoch == 2 && row.leaving.contains_key(old.session())
    })
    .await;

    // A connection comes to the new life: the old one no longer accepts.
    let (mut b, head) = connect(gateway, "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    assert_eq!((old.snapshot().open_tunnels, new.snapshot().open_tunnels), (1, 1));
    let share = |epoch: u64| {
        let w = &w;
        async move {
            let cap = w.store.cap(&demo()).await.unwrap().unwrap();
            cap.nodes.into_iter().find(|(s, _)| s.epoch == epoch).map(|(_, n)| n)
        }
    };
    let held = |n: Option<Node>| n.map_or(0, |n| n.held);
    eventually("ten threads, split between two lives", || async {
        held(share(1).await) == 1 && held(share(2).await) == 9
    })
    .await;
    // The line is open in both: neither closes it for the other.
    let open = || async { w.store.line(&"demo#a".parse().unwrap()).await.unwrap().map_or(0, |l| l.open.len()) };
    eventually("the line is used by both", || async { open().await == 2 }).await;

    echo(&mut a, &[b'y'; 500]).await;
    echo(&mut b, &[b'z'; 200]).await;
    drop(a);
    old.quiet(Duration::from_secs(10)).await;
    old.drain(Duration::ZERO).await.unwrap();
    assert!(lease(1).await.is_none());
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 3000, "settled to the byte, by its own life");
    eventually("the new life has all", || async { share(1).await.is_none() && held(share(2).await) == 10 }).await;
    assert_eq!(open().await, 1);
    drop(b);
    new.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 3400);
    assert!(w.files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_predecessor_that_dies_while_it_drains_is_settled_by_the_living() {
    let mut w = World::new(1 << 20, limits()).await;
    w.config.heartbeat_interval = Duration::from_millis(50);
    let sockets = [named(ListenerKind::Gateway), named(ListenerKind::Admin)];
    let mut old = start_on(&w, &sockets).await;
    let (mut a, head) = connect(sockets[0].name.address, "echo.test:1", "demo-line-a", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    echo(&mut a, &[b'x'; 1000]).await;
    let new = start_on(&w, &sockets).await;
    old.leave();
    drop(old);
    eventually("its journal is settled", || async { w.allowance(&plan_bucket()).await.folded == 2000 }).await;
    eventually("and gone", || std::future::ready(w.files().len() == 1)).await;
    new.drain(Duration::ZERO).await.unwrap();
    assert!(w.files().is_empty());
}

#[test]
fn nobody_answers_where_no_edge_runs() {
    let dir = tempfile::TempDir::new().unwrap();
    let none = takeover::receive(&dir.path().join("t.sock"), &"edge1".parse().unwrap()).unwrap();
    assert!(none.is_none());
}
