//! What outlives the process, and what keeps it from starting.

#![allow(clippy::unwrap_used)] // all of this is a test: to fail is to tell

use std::net::TcpListener;

use tollgate_tests::local_run::{LocalRun, curl, ended, tollgate};
use tollgate_tests::raw_proxy::{RawProxy, basic};

/// A tunnel that has carried bytes, and how many: the client counts what follows the edge's 200.
fn tunnel_with_bytes(run: &LocalRun) -> (RawProxy, u64) {
    let mut tunnel = RawProxy::connect(run.addr("gateway"));
    let auth = basic("demo-line-chip1-country-be", run.password());
    let head =
        format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: {auth}\r\n\r\n");
    tunnel.send(head.as_bytes());
    assert_eq!(tunnel.answer().status, 200);
    let request = b"GET /bytes/70001 HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    tunnel.send(request);
    let answer = tunnel.answer();
    assert_eq!((answer.status, answer.body.len()), (200, 70_001));
    (tunnel, (request.len() + answer.head.len() + answer.body.len()) as u64)
}

fn used(run: &LocalRun) -> u64 {
    let usage = run.customer_api("GET", "/v1/me/usage", None).json();
    usage["buckets"].as_array().unwrap().iter().map(|b| b["usedBytes"].as_u64().unwrap()).sum()
}

#[test]
fn a_killed_run_keeps_assignments_usage_and_keys() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let exit = |run: &LocalRun| curl(&["-x", &run.proxy("demo-line-chip2-country-be"), "http://origin.test/ip"]).body;
    let before = exit(&run);
    assert_eq!(run.end("-TERM").code(), Some(0));

    let run = LocalRun::start(temp.path());
    let settled = used(&run);
    let (_live, bytes) = tunnel_with_bytes(&run);
    let (password, key) = (run.password().to_owned(), run.key("customer key").to_owned());
    let bound_at = run.customer_api("GET", "/v1/assignments/chip1", None).json()["boundAt"].clone();
    assert!(bound_at.is_string());
    assert_eq!(run.end("-KILL").code(), None, "it was killed, with a live tunnel");

    let run = LocalRun::start(temp.path());
    assert_eq!((run.password(), run.key("customer key")), (password.as_str(), key.as_str()));
    assert_eq!(run.customer_api("GET", "/v1/assignments/chip1", None).json()["boundAt"], bound_at);
    assert_eq!(used(&run), settled + bytes, "the journal of the killed edge was settled, to the byte");
    assert_eq!(exit(&run), before, "the same exit as in the first life");
    let sold = run.sandbox_state("ledger");
    assert_eq!(sold["rows"].as_array().unwrap().len(), 2, "nothing was bought again: {sold}");
}

#[test]
fn reset_begins_anew_and_touches_only_what_tollgate_made() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    assert_eq!(curl(&["-x", &run.proxy("demo-line-a-country-nl"), "http://origin.test/ip"]).status, 200);
    let key = run.key("admin key").to_owned();
    assert_eq!(run.end("-TERM").code(), Some(0));
    std::fs::write(temp.path().join("notes.txt"), "mine").unwrap();
    let run = LocalRun::start_with(temp.path(), &["--reset"], &[]);
    assert_ne!(run.key("admin key"), key);
    let lines = run.customer_api("GET", "/v1/assignments", None).json();
    assert_eq!(lines["assignments"], serde_json::json!([]));
    assert!(temp.path().join("notes.txt").exists());
}

#[test]
fn a_port_in_use_is_named_with_the_flag_that_moves_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for flag in ["--gateway", "--api", "--edge-admin", "--sandbox-api", "--sandbox-gateway"] {
        let temp = tempfile::tempdir().unwrap();
        let mut command = tollgate();
        for other in ["--gateway", "--api", "--edge-admin", "--sandbox-api", "--sandbox-gateway"] {
            command.args([other, if other == flag { &port } else { "0" }]);
        }
        let run = ended(command.arg("--data-dir").arg(temp.path()));
        assert_eq!(run.code, Some(69), "{run:?}");
        let last = run.err.lines().last().unwrap_or_default();
        assert!(last.contains(&port) && last.contains(flag), "{run:?}");
        assert_eq!(run.out, "", "no banner");
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named_with_its_flag() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "").unwrap();
    let run = ended(tollgate().arg("--data-dir").arg(file.join("data")));
    assert_eq!(run.code, Some(73), "{run:?}");
    let line = run.err.trim_end();
    assert!(line.lines().count() == 1 && line.contains("file/data") && line.contains("--data-dir"), "{run:?}");
}

#[test]
fn a_second_run_on_the_same_data_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let first = LocalRun::start(temp.path());
    let run =
        ended(tollgate().args(["--gateway", "0", "--api", "0", "--edge-admin", "0", "--data-dir"]).arg(temp.path()));
    assert_eq!(run.code, Some(75), "{run:?}");
    assert!(run.err.contains("another tollgate") && run.err.contains("--data-dir"), "{run:?}");
    assert_eq!(first.customer_api("GET", "/v1/me", None).status, 200, "the first one is not disturbed");
}

#[test]
fn wrong_arguments_are_refused_in_words() {
    for (args, named) in [
        (&["--gateway", "0.0.0.0:3128"][..], "--gateway"),
        (&["--nonsense"], "--nonsense"),
        (&["demo", "--price=-1"], "--price"),
    ] {
        let run = ended(tollgate().args(args));
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains(named), "{run:?}");
    }
    let help = ended(tollgate().arg("--help"));
    assert_eq!(help.code, Some(0));
    for flag in ["--data-dir", "--reset", "--gateway", "--api", "--edge-admin", "--sandbox-api", "BRIGHT_DATA_API_KEY"]
    {
        assert!(help.out.contains(flag), "{flag} is documented");
    }
}

#[test]
fn simulated_addresses_are_never_handed_to_who_pays_for_real_ones() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    assert_eq!(curl(&["-x", &run.proxy("demo-line-a-country-nl"), "http://origin.test/ip"]).status, 200);
    assert_eq!(run.end("-TERM").code(), Some(0));
    let real = [
        ("USE_PROXY", "true"),
        ("BRIGHT_DATA_CUSTOMER_ID", "c_1"),
        ("BRIGHT_DATA_ZONE", "isp"),
        ("BRIGHT_DATA_ZONE_PASSWORD", "EXAMPLE-password"),
        ("BRIGHT_DATA_API_KEY", "EXAMPLE-key"),
        ("BRIGHT_DATA_API_URL", "http://127.0.0.1:1"),
    ];
    let ports = ["--gateway", "0", "--api", "0", "--edge-admin", "0"];
    let refused = ended(tollgate().args(ports).envs(real).arg("--data-dir").arg(temp.path()));
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.err.contains("1 simulated") && refused.err.contains("--data-dir"), "{refused:?}");
    let half = ended(tollgate().args(ports).envs(real.into_iter().take(3)).arg("--data-dir").arg(temp.path()));
    assert_eq!(half.code, Some(78), "{half:?}");
    assert!(half.err.contains("BRIGHT_DATA_ZONE_PASSWORD"), "{half:?}");
}
