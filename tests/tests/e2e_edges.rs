//! Several edges, each a process, as `tollgate --edges` runs them: one customer, one sum.

#![allow(clippy::unwrap_used)] // all of this is a test: to fail is to tell

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_tests::local_run::{LocalRun, curl};
use tollgate_tests::raw_proxy::{RawProxy, basic};

/// Starts, settlements and back-offs take seconds; only what never comes takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run of `count` edges whose customer has no threads to be split.
fn started(dir: &std::path::Path, count: &str) -> LocalRun {
    let run = LocalRun::start_with(dir, &["--edges", count], &[]);
    let unlimited = r#"{"threads":0,"qps":0,"rateTotal":0}"#;
    let limits = run.admin_api("POST", "/admin/users/demo/limits", Some(unlimited));
    assert_eq!(limits.status, 200, "{limits:?}");
    run
}

fn run_file(run: &LocalRun) -> Value {
    serde_json::from_slice(&std::fs::read(run.dir.join("run.json")).unwrap()).unwrap()
}

/// Where a part of an edge is, as `run.json` says.
fn of(run: &LocalRun, edge: usize, part: &str) -> String {
    run_file(run)["edges"][edge][part].as_str().unwrap().to_owned()
}

fn pid(run: &LocalRun, edge: usize) -> u64 {
    run_file(run)["edges"][edge]["pid"].as_u64().unwrap()
}

fn signal(pid: u64, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Downloads through an edge; the bytes of both directions, as the client counts them.
fn download(run: &LocalRun, edge: usize) -> u64 {
    let mut tunnel = RawProxy::connect(&of(run, edge, "gateway"));
    let auth = basic("demo-line-a-country-nl", run.password());
    let head =
        format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: {auth}\r\n\r\n");
    tunnel.send(head.as_bytes());
    let opened = tunnel.answer();
    assert_eq!(opened.status, 200, "{opened:?}");
    let request = b"GET /bytes/50001 HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    tunnel.send(request);
    let answer = tunnel.answer();
    assert_eq!((answer.status, answer.body.len()), (200, 50_001));
    (request.len() + answer.head.len() + answer.body.len()) as u64
}

/// What the customer was charged for bytes that moved, what is in doubt, and what came late.
fn charged(run: &LocalRun) -> (u64, u64, u64) {
    let usage = run.customer_api("GET", "/v1/me/usage", None).json();
    let sum =
        |field: &str| -> u64 { usage["buckets"].as_array().unwrap().iter().map(|b| b[field].as_u64().unwrap()).sum() };
    (sum("usedBytes") - sum("doubtBytes"), sum("doubtBytes"), usage["lateBytes"].as_u64().unwrap())
}

#[track_caller]
fn eventually(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// `<edge>.<epoch> <state>` of each life that is shown.
fn states(run: &LocalRun) -> Vec<String> {
    let all = run.admin_api("GET", "/admin/edges", None).json();
    let shown = |e: &Value| format!("{}.{} {}", e["id"].as_str().unwrap(), e["epoch"], e["state"].as_str().unwrap());
    all["edges"].as_array().unwrap().iter().map(shown).collect()
}

fn life(run: &LocalRun, edge: &str) -> Value {
    let all = run.admin_api("GET", "/admin/edges", None).json();
    all["edges"].as_array().unwrap().iter().find(|e| e["id"] == edge).unwrap().clone()
}

#[test]
fn one_drains_one_is_lost_and_the_sum_is_what_the_client_counted() {
    let temp = tempfile::tempdir().unwrap();
    let run = started(temp.path(), "3");
    assert_eq!(states(&run), ["edge1.1 live", "edge2.1 live", "edge3.1 live"]);
    for part in ["edge1", "edge2", "edge3"] {
        assert!(run.banner.contains(part), "{}", run.banner);
    }
    let mut moved: u64 = (0..3).map(|edge| download(&run, edge)).sum();
    let leases = |edge: &str| life(&run, edge)["leases"]["open"].as_u64();
    for edge in ["edge1", "edge2", "edge3"] {
        assert_eq!(leases(edge), Some(1), "{edge}");
    }

    let drain = run.admin_api("POST", "/admin/edges/edge2/drain", Some(r#"{"withinSeconds":5}"#));
    assert_eq!(drain.status, 202, "{drain:?}");
    eventually("the second edge has drained", || {
        life(&run, "edge2")["state"] == "draining" && leases("edge2") == Some(0)
    });
    assert!(TcpStream::connect(of(&run, 1, "gateway")).is_err(), "it accepts no more");
    let ready = curl(&[&format!("http://{}/readyz", of(&run, 1, "admin"))]);
    assert_eq!((ready.status, ready.body.trim()), (503, "draining"), "it can be asked");

    // An edge that beats is not taken for dead; one whose machine stands still is.
    let alive = run.admin_api("POST", "/admin/edges/edge1/lost", Some("{}"));
    assert_eq!((alive.status, alive.header("x-tollgate-error")), (409, Some("edge_alive")), "{alive:?}");
    let frozen = pid(&run, 2);
    signal(frozen, "-STOP");
    let lost = run.admin_api("POST", "/admin/edges/edge3/lost", Some("{}"));
    assert_eq!(lost.status, 200, "{lost:?}");
    assert_eq!(lost.json()["leases"], 1);
    assert_eq!(life(&run, "edge3")["state"], "lost");
    assert!(charged(&run).1 > 0, "what it took and did not settle is in doubt");

    // It dies and is started again; its journal says what moved: late, and in no bucket.
    signal(frozen, "-KILL");
    eventually("the third edge is back", || {
        pid(&run, 2) != frozen && states(&run).contains(&"edge3.2 live".to_owned())
    });
    eventually("the sum is what the client counted", || {
        let (settled, _, late) = charged(&run);
        settled + late == moved
    });
    moved += download(&run, 2);
    eventually("the new life is settled too", || {
        let (settled, _, late) = charged(&run);
        settled + late == moved
    });
    assert!(run.log().contains("an edge ended and is started again"));
    assert_eq!(run.end("-INT").code(), Some(0), "all end with every lease closed");
}

#[test]
fn an_edge_that_is_killed_comes_back_and_settles_its_journal() {
    let temp = tempfile::tempdir().unwrap();
    let run = started(temp.path(), "2");
    let moved = download(&run, 0) + download(&run, 1);
    let killed = pid(&run, 0);
    signal(killed, "-KILL");
    eventually("it is back", || pid(&run, 0) != killed && states(&run).contains(&"edge1.2 live".to_owned()));
    eventually("every byte is settled", || charged(&run) == (moved, 0, 0));
    let more = download(&run, 0);
    assert_eq!(run.end("-TERM").code(), Some(0));

    // A run that is killed takes its edges with it; the next one settles what they left.
    let run = LocalRun::start_with(temp.path(), &["--edges", "2"], &[]);
    let last = download(&run, 1);
    let pids = [pid(&run, 0), pid(&run, 1)];
    assert_eq!(run.end("-KILL").code(), None);
    let runs = |pid: &u64| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty());
    eventually("no edge is left behind", || !pids.iter().any(runs));
    let run = LocalRun::start_with(temp.path(), &["--edges", "2"], &[]);
    assert_eq!(charged(&run), (moved + more + last, 0, 0));
}
