//! Races, lost answers and the end of a quota, through the doors that customers use.

#![allow(clippy::unwrap_used)] // all of this is a test: to fail is to tell

use std::time::{Duration, Instant};

use tollgate_tests::local_run::LocalRun;
use tollgate_tests::raw_proxy::{Answer, RawProxy, basic};

fn connect(run: &LocalRun, user: &str, password: &str) -> (RawProxy, Answer) {
    let mut proxy = RawProxy::connect(run.addr("gateway"));
    let auth = basic(user, password);
    let head =
        format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: {auth}\r\n\r\n");
    proxy.send(head.as_bytes());
    let answer = proxy.answer();
    (proxy, answer)
}

/// Opens a tunnel for each user name, all at the same time; the statuses.
fn connect_at_once(run: &LocalRun, users: &[String]) -> Vec<u16> {
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            users.iter().map(|user| scope.spawn(move || connect(run, user, run.password()).1.status)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn sold(run: &LocalRun) -> usize {
    run.sandbox_state("ledger")["rows"].as_array().unwrap().len()
}

#[test]
fn many_first_requests_of_one_line_buy_one_address() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let users = vec!["demo-line-a-country-be".to_owned(); 12];
    assert_eq!(connect_at_once(&run, &users), vec![200; 12]);
    assert_eq!(sold(&run), 1);
}

#[test]
fn many_lines_at_once_get_an_address_each_and_no_more_are_bought() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let users: Vec<_> = (0..12).map(|n| format!("demo-line-l{n}-country-be")).collect();
    let statuses = connect_at_once(&run, &users);
    assert_eq!(statuses, vec![200; 12]);
    assert_eq!(sold(&run), 12);
    let metrics = run.admin_api("GET", "/admin/proxies/metrics", None).json();
    assert_eq!((&metrics["total"], &metrics["active"]), (&12.into(), &12.into()), "{metrics}");
}

/// The reconciler looks ten seconds after an answer was lost.
const RECONCILED: Duration = Duration::from_secs(40);

#[test]
fn a_purchase_whose_answer_was_lost_is_found_and_not_bought_again() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    run.sandbox("faults", r#"{"call":"buy","faults":["charged_but_answer_lost"]}"#);
    let user = "demo-line-a-country-nl";
    let began = Instant::now();
    let mut seen = Vec::new();
    loop {
        let (_, answer) = connect(&run, user, run.password());
        if answer.status == 200 {
            break;
        }
        let code = answer.header("x-tollgate-error").unwrap_or_default().to_owned();
        assert_eq!((answer.status, code.as_str()), (503, "assign_in_progress"), "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        seen.push(code);
        assert!(began.elapsed() < RECONCILED, "not found after {RECONCILED:?}: {seen:?}");
    }
    assert!(!seen.is_empty(), "the answer was lost");
    assert_eq!(sold(&run), 1, "paid once");
}

#[test]
fn a_quota_ends_a_tunnel_at_the_exact_byte() {
    const QUOTA: usize = 300_000;
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let price = r#"{"micros":0,"currency":"USD"}"#;
    let limits = format!(
        r#"{{"threads":5,"qps":0,"rateTotal":0,"quotaBytes":{QUOTA},"maxLines":5,"maxSessions":5,"spendDay":null}}"#
    );
    let plan = format!(r#"{{"code":"tiny","limits":{limits},"base":{price},"perGb":{price}}}"#);
    let made = run.admin_api("POST", "/admin/plans", Some(&plan));
    assert_eq!(made.status, 201, "{made:?}");
    let made = run.admin_api("POST", "/admin/users", Some(r#"{"id":"small","name":"Small","plan":"tiny"}"#));
    assert_eq!(made.status, 201, "{made:?}");
    let password = made.json()["password"].as_str().unwrap().to_owned();

    let (mut tunnel, answer) = connect(&run, "small-line-a-country-nl", &password);
    assert_eq!(answer.status, 200, "{answer:?}");
    let request = b"GET /bytes/10000000 HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    tunnel.send(request);
    let down = tunnel.rest().len();
    assert_eq!(request.len() + down, QUOTA, "not a byte more, not a byte less");

    let (_, refused) = connect(&run, "small-line-a-country-nl", &password);
    assert_eq!((refused.status, refused.header("x-tollgate-error")), (402, Some("quota_exhausted")), "{refused:?}");
}
