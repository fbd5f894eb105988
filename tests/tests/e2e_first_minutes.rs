//! The first minutes of somebody who types `cargo run`: what is printed works as printed.

#![allow(clippy::unwrap_used, clippy::panic)] // all of this is a test: to fail is to tell

use std::process::Command;
use std::time::Duration;

use tollgate_tests::local_run::{LocalRun, curl, ended};
use tollgate_tests::raw_proxy::{RawProxy, basic};

/// The lines of the banner that begin with `curl`, as printed.
fn pasted(run: &LocalRun) -> Vec<String> {
    run.banner.lines().map(str::trim).filter(|l| l.starts_with("curl ")).map(str::to_owned).collect()
}

/// What a person sees who pastes `line` into a shell.
fn paste(line: &str) -> (Option<i32>, String) {
    let mut shell = Command::new("sh");
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
        shell.env_remove(name);
    }
    let run = ended(shell.args(["-c", &format!("{line} -sS --fail --max-time 30")]));
    (run.code, format!("{}{}", run.out, run.err))
}

#[test]
fn every_curl_of_the_banner_works_as_printed() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(&temp.path().join("my data's"));
    assert!(run.took < Duration::from_secs(5), "it took {:?} to say what runs where", run.took);
    let lines = pasted(&run);
    assert!(lines.len() >= 6, "{}", run.banner);
    for line in &lines {
        let (code, out) = paste(line);
        assert_eq!(code, Some(0), "{line}\n{out}");
        if line.contains("origin.test") {
            assert!(out.contains(r#""country":"nl""#), "sold out in be, so nl: {line}\n{out}");
        }
    }
    assert!(run.banner.contains("SIMULATED"), "what is simulated is marked");
}

#[test]
fn the_second_request_reuses_the_assignment_of_the_first() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let proxy = run.proxy("demo-line-chip1-country-be");
    let first = curl(&["-x", &proxy, "http://origin.test/ip"]);
    assert_eq!(first.status, 200, "{first:?}");
    let ca = run.at["origin_ca"].as_str().unwrap();
    let second = curl(&["-x", &proxy, "--cacert", ca, "https://origin.test/ip"]);
    assert_eq!((second.status, &second.body), (200, &first.body), "{second:?}");

    let lines = run.customer_api("GET", "/v1/assignments", None).json();
    assert_eq!(lines["assignments"].as_array().unwrap().len(), 1, "{lines}");
    let assignment = &lines["assignments"][0];
    assert_eq!((&assignment["requestedCountry"], &assignment["country"]), (&"be".into(), &"nl".into()), "{lines}");
    let sold = run.sandbox_state("ledger");
    assert_eq!(sold["rows"].as_array().unwrap().len(), 1, "one address was bought: {sold}");
    let metrics = run.admin_api("GET", "/admin/proxies/metrics", None).json();
    assert_eq!((&metrics["total"], &metrics["active"]), (&1.into(), &1.into()), "{metrics}");
}

#[test]
fn a_python_client_downloads_uploads_and_tunnels() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let script = r#"
import json, socket, base64, sys, urllib.request
proxy, gateway, user, password = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
with opener.open("http://origin.test/bytes/1000000", timeout=30) as answer:
    assert len(answer.read()) == 1000000
body = bytes(range(256)) * 1000
with opener.open("http://origin.test/echo", data=body, timeout=30) as answer:
    assert answer.read() == body
host, port = gateway.rsplit(":", 1)
with socket.create_connection((host, int(port)), timeout=30) as s:
    credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
    s.sendall(f"CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: Basic {credentials}\r\n\r\n".encode())
    stream = s.makefile("rb")
    assert stream.readline().split()[1] == b"200"
    while stream.readline().strip():
        pass
    s.sendall(b"GET /ip HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n")
    answer = stream.read()
    print(json.loads(answer.split(b"\r\n\r\n", 1)[1])["country"])
"#;
    let user = "demo-line-snake-country-de";
    let mut python = Command::new("python3");
    python.args(["-c", script, &run.proxy(user), run.addr("gateway"), user, run.password()]);
    let ran = ended(&mut python);
    assert_eq!((ran.code, ran.out.trim()), (Some(0), "de"), "{ran:?}");
}

#[test]
fn the_api_answers_this_machine_only() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let url = format!("http://{}/v1/countries", run.addr("api"));
    let auth = format!("Authorization: Bearer {}", run.key("customer key"));
    assert_eq!(curl(&["-H", &auth, &url]).status, 200);
    let rebound = curl(&["-H", &auth, "-H", "Host: rebound.example", &url]);
    assert_eq!((rebound.status, rebound.header("x-tollgate-error")), (403, Some("forbidden")), "{rebound:?}");
    assert_eq!(curl(&["-H", &auth, "-H", "Host: localhost:1", &url]).status, 200);
}

#[test]
fn a_signal_drains_and_exits_0_with_every_byte_settled() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    assert_eq!(run.end("-INT").code(), Some(0), "without a customer");

    let run = LocalRun::start(temp.path());
    let mut live = RawProxy::connect(run.addr("gateway"));
    let auth = basic("demo-line-a-country-nl", run.password());
    let head =
        format!("CONNECT origin.test:80 HTTP/1.1\r\nHost: origin.test:80\r\nProxy-Authorization: {auth}\r\n\r\n");
    live.send(head.as_bytes());
    assert_eq!(live.answer().status, 200);
    let request = b"GET /bytes/50001 HTTP/1.1\r\nHost: origin.test\r\n\r\n";
    live.send(request);
    let answer = live.answer();
    let bytes = request.len() + answer.head.len() + answer.body.len();
    run.signal("-TERM");
    assert!(live.rest().is_empty(), "the tunnel is cut, and nothing more comes");
    assert_eq!(run.wait().code(), Some(0), "with a live tunnel");

    let run = LocalRun::start(temp.path());
    let usage = run.customer_api("GET", "/v1/me/usage", None).json();
    let used: u64 = usage["buckets"].as_array().unwrap().iter().map(|b| b["usedBytes"].as_u64().unwrap()).sum();
    assert_eq!(used, bytes as u64);
    assert!(!run.log().contains("settled what an earlier life left"), "a drained edge leaves nothing behind");
}

#[test]
fn the_edge_tells_that_it_lives_and_what_it_counts() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    let at = |path: &str| curl(&[&format!("http://{}{path}", run.addr("edge_admin"))]);
    assert_eq!((at("/healthz").status, at("/readyz").status), (200, 200));
    assert_eq!(curl(&["-x", &run.proxy("demo-line-a-country-nl"), "http://origin.test/ip"]).status, 200);
    let metrics = at("/metrics");
    assert!(metrics.body.contains("tollgate_edge_bytes_total"), "{metrics:?}");
}

/// `line,country,host,port,user,password` as a URL.
fn url_of_row(row: &str) -> String {
    let columns: Vec<_> = row.split(',').collect();
    let [_, _, host, port, user, password] = columns[..] else { panic!("not six columns: {row}") };
    format!("http://{user}:{password}@{host}:{port}")
}

#[test]
fn every_listed_proxy_url_works_in_all_three_forms() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start(temp.path());
    for line in ["a", "b"] {
        let body = format!(r#"{{"line":"{line}","country":"be"}}"#);
        assert_eq!(run.customer_api("POST", "/v1/assignments", Some(&body)).status, 200);
    }
    let mut seen = Vec::new();
    for form in ["text", "json", "csv"] {
        let list = run.customer_api("GET", &format!("/v1/proxies?format={form}"), None);
        assert_eq!(list.status, 200, "{list:?}");
        let urls: Vec<String> = match form {
            "text" => list.body.lines().map(str::to_owned).collect(),
            "json" => {
                let all = list.json()["proxies"].as_array().unwrap().clone();
                all.iter().map(|p| p["url"].as_str().unwrap().to_owned()).collect()
            }
            _ => list.body.lines().skip(1).map(url_of_row).collect(),
        };
        assert_eq!(urls.len(), 2, "{form}: {list:?}");
        seen.push(urls);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
    for url in &seen[0] {
        let through = curl(&["-x", url, "http://origin.test/ip"]);
        assert!(through.body.contains(r#""country":"nl""#), "{through:?}");
    }
}

#[test]
fn no_secret_appears_in_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let run = LocalRun::start_with(temp.path(), &["--log", "json"], &[("RUST_LOG", "debug")]);
    let good = run.proxy("demo-line-a-country-be");
    assert_eq!(curl(&["-x", &good, "http://origin.test/ip?token=EXAMPLE-query"]).status, 200);
    let wrong = format!("http://demo-line-a-country-be:EXAMPLE-wrong@{}", run.addr("gateway"));
    assert_eq!(curl(&["-x", &wrong, "http://origin.test/ip"]).status, 407);
    assert_eq!(run.api("GET", "/v1/me", &["Authorization: Bearer EXAMPLE-key"], None).status, 401);
    assert_eq!(run.customer_api("GET", "/v1/proxies", None).status, 200);
    assert_eq!(run.admin_api("POST", "/admin/users/demo/credentials/demo/rotate", Some("{}")).status, 200);
    assert_eq!(run.admin_api("GET", "/admin/audit", None).status, 200);
    run.sandbox("faults", r#"{"call":"buy","faults":["garbage"]}"#);
    let _ = curl(&["-x", &run.proxy("demo-line-b-country-de"), "http://origin.test/ip"]);

    let log = run.log();
    assert!(log.lines().count() > 10, "{log}");
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "one JSON object a line: {line}");
    }
    let secrets = std::fs::read(temp.path().join("secrets.json")).unwrap();
    let secrets: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&secrets).unwrap();
    let mut hidden: Vec<String> = secrets.values().map(|v| v.as_str().unwrap().to_owned()).collect();
    hidden.push(run.password().to_owned());
    hidden.push(basic("demo-line-a-country-be", run.password()).replace("Basic ", ""));
    hidden.extend(["EXAMPLE-query", "EXAMPLE-wrong", "EXAMPLE-key"].map(str::to_owned));
    for secret in hidden {
        assert!(!log.contains(&secret), "the log holds {secret}");
    }
}
