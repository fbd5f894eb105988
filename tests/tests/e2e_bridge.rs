//! The WhatsApp bridge of docs/examples: its own tests, and its sessions through a running `tollgate`.

#![allow(clippy::unwrap_used, clippy::panic)] // all of this is a test: to fail is to tell

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};
use tollgate_tests::clients::{Story, client, installed};
use tollgate_tests::local_run::{Curl, curl, ended};
use tollgate_tests::workspace;

/// A bridge that is killed with the test.
struct Bridge {
    child: Child,
    stdout: BufReader<ChildStdout>,
    at: String,
}

impl Bridge {
    /// A bridge whose sessions go to the simulated origin.
    fn start(story: &Story) -> Self {
        let mut command = client("node");
        command.current_dir(workspace::root().join("docs/examples/whatsapp-bridge")).arg("server.js");
        command.env("NODE_PATH", installed().join("bridge/node_modules")).env("NODE_EXTRA_CA_CERTS", story.ca());
        command.env("WA_URL", "wss://origin.test/ws").env("HOST", "127.0.0.1").env("PORT", "0");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("node starts");
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let at = line.trim().strip_prefix("bridge listening on ").unwrap_or_else(|| panic!("it said {line:?}"));
        Self { at: at.to_owned(), child, stdout }
    }

    fn connect(&self, body: &Value) -> Curl {
        let url = format!("{}/connect", self.at);
        curl(&["-H", "Content-Type: application/json", "--data-binary", &body.to_string(), &url])
    }

    /// Ends it; what it has logged.
    fn log(mut self) -> String {
        self.child.kill().unwrap();
        let mut log = String::new();
        while self.stdout.read_line(&mut log).unwrap() > 0 {}
        log
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_bridge_passes_its_own_tests() {
    let mut command = client("node");
    command.current_dir(workspace::root().join("docs/examples/whatsapp-bridge"));
    command.env("NODE_PATH", installed().join("bridge/node_modules")).args(["--test", "test/bridge.test.js"]);
    let ran = ended(&mut command);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
}

#[test]
fn sessions_of_the_bridge_keep_their_lines_over_http_and_socks() {
    let story = Story::of("chip1");
    let bridge = Bridge::start(&story);
    let refused = bridge.connect(&json!({ "proxyUrl": story.http() }));
    assert_eq!((refused.status, refused.json()), (400, json!({ "error": "sessionId obrigatório" })));

    let gateway = story.run.addr("gateway");
    let socks = story.socks().replacen("socks5h:", "socks5:", 1);
    for (session, proxy) in [("over-http", story.http()), ("over-socks", socks)] {
        let opened = bridge.connect(&json!({ "sessionId": session, "proxyUrl": proxy }));
        assert_eq!(opened.status, 200, "{opened:?}");
        let opened = opened.json();
        assert_eq!((&opened["state"], &opened["proxy"]), (&"connected".into(), &gateway.into()), "{opened}");
    }
    let wrong = bridge.connect(&json!({ "sessionId": "wrong", "proxyUrl": story.wrong("http") }));
    assert_eq!(wrong.status, 502, "{wrong:?}");
    let sessions = curl(&[&format!("{}/sessions", bridge.at)]).json();
    let ids: Vec<&str> =
        sessions["sessions"].as_array().unwrap().iter().map(|s| s["sessionId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["over-http", "over-socks"], "{sessions}");
    let closed = curl(&["-X", "DELETE", &format!("{}/sessions/over-http", bridge.at)]);
    assert_eq!(closed.status, 200, "{closed:?}");

    let log = bridge.log();
    assert!(log.contains(&format!(r#"session "over-http" connected via {gateway}"#)), "{log}");
    for hidden in [story.run.password(), &story.user(), "EXAMPLE-wrong"] {
        assert!(!log.contains(hidden), "{hidden} in {log}");
    }
    story.metered(100);
}
