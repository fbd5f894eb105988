//! What an operator or a customer says through the API acts on live tunnels within two seconds.

#![allow(clippy::unwrap_used)] // all of this is a test: to fail is to tell

use std::time::{Duration, Instant};

use tollgate_tests::local_run::LocalRun;
use tollgate_tests::raw_proxy::{Answer, RawProxy, basic};

const REACH: Duration = Duration::from_secs(2);

fn open(run: &LocalRun, user: &str) -> (RawProxy, Answer) {
    let mut proxy = RawProxy::connect(run.addr("gateway"));
    let auth = basic(user, run.password());
    let head =
        format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: {auth}\r\n\r\n");
    proxy.send(head.as_bytes());
    let answer = proxy.answer();
    (proxy, answer)
}

/// A tunnel that has carried bytes.
fn tunnel(run: &LocalRun, user: &str) -> RawProxy {
    let (mut proxy, answer) = open(run, user);
    assert_eq!(answer.status, 200, "{answer:?}");
    proxy.send(b"GET /ip HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert_eq!(proxy.answer().status, 200);
    proxy
}

fn status(run: &LocalRun, user: &str) -> (u16, String) {
    let (_, answer) = open(run, user);
    (answer.status, answer.header("x-tollgate-error").unwrap_or_default().to_owned())
}

/// Asks until the gateway answers with `wanted`: the time is that of a feed, not of a guess.
#[track_caller]
fn becomes(run: &LocalRun, user: &str, wanted: u16) {
    let began = Instant::now();
    loop {
        let (seen, code) = status(run, user);
        // Asking in a hurry meets the requests a second that a plan has.
        if seen == wanted && code != "qps_exceeded" {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(began.elapsed() < REACH, "still {seen} {code} after {REACH:?}, not {wanted}");
    }
}

#[test]
fn a_ban_closes_live_tunnels_and_refuses_new_ones() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let mut live = tunnel(&run, "demo-line-a-country-be");
    let banned = run.admin_api("POST", "/admin/users/demo/ban", Some(r#"{"reason":"abuse"}"#));
    assert_eq!(banned.status, 200, "{banned:?}");
    assert!(live.closes_within(REACH), "the ban did not reach the tunnel");
    assert_eq!(status(&run, "demo-line-a-country-be"), (403, "banned".to_owned()));
    assert_eq!(run.admin_api("POST", "/admin/users/demo/unban", Some("{}")).status, 200);
    becomes(&run, "demo-line-a-country-be", 200);
}

#[test]
fn a_closed_line_ends_its_tunnels_and_no_others() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let mut live = tunnel(&run, "demo-line-a-country-be");
    let mut other = tunnel(&run, "demo-line-b-country-be");
    let closed = run.customer_api("DELETE", "/v1/assignments/a", None);
    assert_eq!(closed.status, 200, "{closed:?}");
    assert!(live.closes_within(REACH), "the closing did not reach the tunnel");
    other.send(b"GET /ip HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    assert_eq!(other.answer().status, 200, "another line's tunnel lives on");
    let metrics = run.admin_api("GET", "/admin/proxies/metrics", None).json();
    assert_eq!((&metrics["active"], &metrics["idle"]), (&1.into(), &1.into()), "{metrics}");
}

#[test]
fn a_kick_closes_live_tunnels_and_the_customer_comes_back_at_once() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let mut live = tunnel(&run, "demo-line-a-country-be");
    assert_eq!(run.admin_api("POST", "/admin/users/demo/kick", Some("{}")).status, 200);
    assert!(live.closes_within(REACH), "the kick did not reach the tunnel");
    becomes(&run, "demo-line-a-country-be", 200);
}

#[test]
fn a_smaller_plan_counts_the_tunnels_that_are_open() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let limits = r#"{"threads":1,"threadBurstMilli":1000,"qps":0,"rateTotal":0,"quotaBytes":null,"maxLines":5,"maxSessions":5,"spendDay":null}"#;
    let price = r#"{"micros":0,"currency":"USD"}"#;
    let plan = format!(r#"{{"code":"single","limits":{limits},"base":{price},"perGb":{price}}}"#);
    let made = run.admin_api("POST", "/admin/plans", Some(&plan));
    assert_eq!(made.status, 201, "{made:?}");

    let _live = tunnel(&run, "demo-line-a-country-be");
    assert_eq!(status(&run, "demo-line-a-country-be").0, 200, "the plan pro carries a second tunnel");
    let moved = run.admin_api("POST", "/admin/users/demo/plan", Some(r#"{"plan":"single"}"#));
    assert_eq!(moved.status, 200, "{moved:?}");
    becomes(&run, "demo-line-a-country-be", 429);
    assert_eq!(status(&run, "demo-line-a-country-be").1, "threads_exceeded");
    assert_eq!(run.admin_api("POST", "/admin/users/demo/plan", Some(r#"{"plan":"pro"}"#)).status, 200);
    becomes(&run, "demo-line-a-country-be", 200);
}
