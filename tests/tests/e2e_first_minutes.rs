//! The first minutes of somebody who types `cargo run`: what is printed works as printed.

use std::process::Command;
use std::time::Duration;

use tollgate_tests::local_run::{LocalRun, curl, ended};

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
fn sigterm_drains_and_exits_0() {
    let temp = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let run = LocalRun::start(temp.path());
        let proxy = run.proxy("demo-line-chip1-country-be");
        assert_eq!(curl(&["-x", &proxy, "http://origin.test/bytes/50000"]).status, 200);
        assert_eq!(run.end(signal).code(), Some(0), "{signal}");
    }
}
