//! Power loss: the disk has the journal of an earlier instant, its last checkpoint, while the store
//! has heard of more, or of less. Nothing is billed that did not move, nothing twice; what is missing
//! moved after the checkpoint, and after the last settlement too.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tollgate_domain::plan::Limits;
use tollgate_edge::Edge;

use crate::support::world::{PASSWORD, limits, plan_bucket};
use crate::support::{World, connect, eventually, status};

/// Largest operation, for each of two workers: what a checkpoint in the middle of one leaves in doubt.
const DOUBT: u64 = 2 * (256 << 10);

fn journal_of(w: &World) -> PathBuf {
    let name = w.files().into_iter().find(|f| f.ends_with(".tgj")).unwrap();
    w.data_dir().join(name)
}

/// Bytes that the edge has counted.
fn counted(edge: &Edge) -> u64 {
    edge.snapshot().customers.iter().map(|c| c.ingress + c.egress).sum()
}

async fn tunnel(edge: &Edge, line: &str) -> TcpStream {
    let (c, head) = connect(edge.gateway_addr(), "echo.test:1", &format!("demo-line-{line}"), PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    c
}

async fn echo(c: &mut TcpStream, bytes: usize) {
    c.write_all(&vec![b'x'; bytes]).await.unwrap();
    c.read_exact(&mut vec![0; bytes]).await.unwrap();
}

/// What a story came to.
#[derive(Debug)]
struct Outcome {
    moved: u64,
    /// Of those, bytes that had moved at the last settlement.
    settled: u64,
    /// Of those, bytes that had moved at the last checkpoint.
    kept: u64,
    /// By daily rows.
    billed: u64,
    /// What the quota has lost.
    charged: u64,
}

/// Plays a story, loses the power at its end, and starts the edge again. `m`: bytes move over two lines;
/// `s`: they are settled; `c`: the journal as it is now is what the disk will have.
async fn play(story: &str) -> Outcome {
    let w = World::new(1 << 30, Limits { settle_s: 3600, ..limits() }).await;
    let edge = w.start().await;
    let journal = journal_of(&w);
    let mut tunnels: Vec<TcpStream> = Vec::new();
    let mut disk = Vec::new();
    let (mut moved, mut settled, mut kept) = (0u64, 0u64, 0u64);
    for (n, step) in (1usize..).zip(story.chars()) {
        match step {
            'm' => {
                if tunnels.is_empty() {
                    tunnels = vec![tunnel(&edge, "a").await, tunnel(&edge, "b").await];
                }
                for (c, bytes) in tunnels.iter_mut().zip([1000 * n, 70 + n]) {
                    echo(c, bytes).await;
                    moved += 2 * bytes as u64;
                }
                eventually("all is counted", || async { counted(&edge) == moved }).await;
            }
            's' => {
                assert!(edge.settle().await);
                settled = moved;
            }
            'c' => {
                disk = std::fs::read(&journal).unwrap();
                kept = moved;
            }
            other => panic!("no step {other}"),
        }
    }
    drop(edge);
    drop(tunnels);
    std::fs::write(&journal, &disk).unwrap();

    let edge = w.start().await;
    let allowance = w.allowance(&plan_bucket()).await;
    assert!(allowance.leases.is_empty(), "{story}: {allowance:?}");
    let outcome = Outcome { moved, settled, kept, billed: w.rows().await.bytes(), charged: allowance.folded };
    // What was settled is settled once.
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert!(w.files().is_empty(), "{story}: {:?}", w.files());
    assert_eq!(w.rows().await.bytes(), outcome.billed, "{story}");
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn after_power_loss_only_what_moved_since_checkpoint_and_settlement_is_not_billed() {
    let stories = [
        // The store is behind the journal, or has heard of nothing.
        "mcm",
        "msmcm",
        "mcmcm",
        // It is ahead of it: by a settlement, by several, by one after which more moved.
        "mcs",
        "mcms",
        "msmcmsm",
        "msmcmsmsm",
        "mscmsm",
        // The journal knows of no lease yet.
        "cm",
        "cmsm",
    ];
    for story in stories {
        let o = play(story).await;
        assert!(o.billed <= o.moved, "{story}: {o:?}");
        assert_eq!(o.billed, o.settled.max(o.kept), "{story}: {o:?}");
        // The quota has lost what is billed, and what a checkpoint in the middle of an operation left in doubt.
        assert!((o.billed..=o.billed + DOUBT).contains(&o.charged), "{story}: {o:?}");
        println!("power loss {story}: {o:?}, {} bytes moved for nothing", o.moved - o.billed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_closed_after_the_checkpoint_is_not_charged_again() {
    let mut w = World::new(1 << 30, limits()).await;
    w.config.lease_idle = Duration::from_millis(50);
    let edge = w.start().await;
    let journal = journal_of(&w);
    let mut c = tunnel(&edge, "a").await;
    echo(&mut c, 500).await;
    eventually("all is counted", || async { counted(&edge) == 1000 }).await;
    let disk = std::fs::read(&journal).unwrap();
    drop(c);
    eventually("the customer is gone", || async { edge.snapshot().customers.is_empty() }).await;
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 1000);
    drop(edge);
    std::fs::write(&journal, &disk).unwrap();
    let edge = w.start().await;
    assert_eq!((w.allowance(&plan_bucket()).await.folded, w.rows().await.bytes()), (1000, 1000));
    edge.drain(Duration::from_secs(5)).await.unwrap();
}
