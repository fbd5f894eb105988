//! Edges in processes of their own over one store, clients and an origin that count, and the
//! checker.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tollgate_domain::budget::{Allowance, Bucket};
use tollgate_domain::id::EdgeId;
use tollgate_domain::plan::Limits;
use tollgate_domain::provider::Provider;
use tollgate_domain::time::{Clock as _, Timestamp};
use tollgate_store::SystemClock;
use tollgate_store::allowance::Grant;

use super::WORKERS;
use super::life::{Life, Process};
use super::origin::Origin;
use super::tunnel::{Counted, Tunnel};
use crate::program::Around;
use crate::support::world::{PASSWORD, demo};
use crate::support::{World, connect, status};

const CHECKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/checker/check.py");
/// A story that runs over the end of a month spends from one bucket all the same.
const SPENDABLE: Duration = Duration::from_secs(60 * 86_400);
/// Time for clients to see the end of their tunnels.
const PATIENCE: Duration = Duration::from_secs(180);

/// See the module.
pub struct Fleet {
    pub w: World,
    pub origin: Origin,
    around: Around,
    dir: TempDir,
    began: Timestamp,
    processes: AtomicUsize,
    tunnels: AtomicUsize,
    moved: Arc<AtomicU64>,
    counted: Mutex<Vec<Counted>>,
}

impl Fleet {
    /// No edge yet. The customer has `quota` bytes, and as many threads as it likes.
    pub async fn start(quota: u64) -> Self {
        let origin = Origin::start().await;
        let port = origin.addr.port();
        let limits = Limits { settle_s: 1, ..Limits::default() };
        let w = World::with_provider(0, limits, |p: &mut Provider| p.gateway_port = port).await;
        // Programs live by the machine's own clock.
        let began = SystemClock.now();
        let bucket = Bucket::Plan { start: began.month_start() };
        let grant = Grant {
            source: "proof".into(),
            bytes: quota,
            plan_ver: 1,
            spend_from: began.month_start(),
            spend_until: began.plus(SPENDABLE),
        };
        assert!(w.store.grant(&demo(), &bucket, &grant, began).await.unwrap());
        let around = Around::start(&w).await;
        Self {
            w,
            origin,
            around,
            dir: TempDir::new().unwrap(),
            began,
            processes: AtomicUsize::new(0),
            tunnels: AtomicUsize::new(0),
            moved: Arc::default(),
            counted: Mutex::default(),
        }
    }

    // === edges ===

    /// Starts the next life of an edge.
    pub fn spawn(&self, edge: usize) -> Process {
        let name = format!("edge{edge}");
        let said_in = self.dir.path().join(format!("log-{}", self.processes.fetch_add(1, Ordering::Relaxed)));
        let mut program = self.around.program(&self.w);
        program
            .env("TOLLGATE_EDGE_DATA_DIR", self.dir.path().join(&name))
            .env("TOLLGATE_EDGE_ID", name)
            // Ports that nobody else can have meanwhile; the log says which.
            .env("TOLLGATE_EDGE_LISTEN", "127.0.0.1:0")
            .env("TOLLGATE_EDGE_ADMIN", "127.0.0.1:0")
            .env("TOLLGATE_EDGE_WORKERS", WORKERS.to_string())
            .env("TOLLGATE_EDGE_JOURNAL_LEASE_SLOTS", "64")
            .env("TOLLGATE_EDGE_JOURNAL_USAGE_SLOTS", "1024");
        Process::start(&mut program, said_in)
    }

    /// Starts the next life of an edge, and waits until it serves.
    pub async fn edge(&self, edge: usize) -> Life {
        self.spawn(edge).serves().await
    }

    /// So many edges that serve.
    pub async fn edges(&self, edges: usize) -> Vec<Life> {
        join_all((1..=edges).map(|edge| self.edge(edge))).await
    }

    /// Lives that an edge has begun.
    pub async fn epoch(&self, edge: usize) -> u64 {
        let id: EdgeId = format!("edge{edge}").parse().unwrap();
        self.w.store.edge(&id).await.unwrap().map_or(0, |row| row.epoch)
    }

    // === clients ===

    /// A tunnel to an origin that does `what` (see [`super::origin`]).
    pub async fn open(&self, life: &Life, what: &str, line: &str) -> Tunnel {
        let tunnel = format!("t{}", self.tunnels.fetch_add(1, Ordering::Relaxed));
        let target = format!("{what}.{tunnel}.test:443");
        let (stream, head) = connect(life.gateway, &target, &format!("demo-line-{line}"), PASSWORD).await;
        assert_eq!(status(&head), 200, "{head}");
        let life = life.session.clone();
        let counted = Counted { customer: demo().to_string(), tunnel, life, sent: 0, received: 0, whole: false };
        Tunnel::new(stream, Arc::clone(&self.moved), counted)
    }

    /// Notes what a client counted.
    pub fn note(&self, counted: Counted) {
        self.counted.lock().unwrap().push(counted);
    }

    /// Waits for these clients' ends, and notes what they counted.
    pub async fn note_all(&self, clients: JoinSet<Counted>) {
        let counted = timeout(PATIENCE, clients.join_all()).await.expect("tunnels go on");
        self.counted.lock().unwrap().extend(counted);
    }

    /// Bytes that clients sent and received so far.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// What clients counted: sent, received, and whether all tunnels ended whole.
    pub fn sums(&self) -> (u64, u64, bool) {
        let counted = self.counted.lock().unwrap();
        counted
            .iter()
            .fold((0, 0, true), |(sent, received, whole), c| (sent + c.sent, received + c.received, whole && c.whole))
    }

    // === what the store says ===

    /// The customer's one bucket.
    pub async fn allowance(&self) -> Allowance {
        let found = self.w.store.allowances(&demo()).await.unwrap();
        let (_, allowance) = found.into_iter().next().unwrap();
        assert!(allowance.is_sound(), "{allowance:?}");
        allowance
    }

    /// What the daily rows say: bytes from and to the customer.
    pub async fn billed(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for month in BTreeSet::from([self.began.month(), SystemClock.now().month()]) {
            for (_, row) in self.w.store.usage(&demo(), &month).await.unwrap() {
                sum = (sum.0 + row.ingress, sum.1 + row.egress);
            }
        }
        sum
    }

    /// Every tunnel ended whole, and was billed to the byte; nothing is in doubt or held.
    pub async fn is_exact(&self) {
        let (sent, received, whole) = self.sums();
        assert!(whole, "{:?}", self.counted);
        assert_eq!(self.billed().await, (sent, received));
        let a = self.allowance().await;
        assert_eq!((a.folded, a.leases.len()), (sent + received, 0), "{a:?}");
    }

    /// Has the checker compare all that was counted with the store, once no edge runs any more. No
    /// life may have left more than `doubt` bytes in doubt.
    pub async fn check(&self, doubt: u64) {
        let origin = self.file("origin.jsonl", &self.origin.counted().await);
        let clients = self.counted.lock().unwrap().clone();
        let clients = self.file("clients.jsonl", &clients);
        let mut checker = Command::new("python3");
        checker.args(["-I", "-B", CHECKER]).arg("--clients").arg(clients).arg("--origin").arg(origin);
        checker.arg("--store").arg(format!("http://{}/", self.around.tables_at)).args(["--prefix", "t-"]);
        let ran = checker.arg("--doubt").arg(doubt.to_string()).output().await.unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        println!("{said}");
    }

    /// A file with a record a line.
    fn file<T: Serialize>(&self, name: &str, records: &[T]) -> PathBuf {
        let path = self.dir.path().join(name);
        let lines: String = records.iter().map(|r| serde_json::to_string(r).unwrap() + "\n").collect();
        std::fs::write(&path, lines).unwrap();
        path
    }
}
