//! The program: settings, signals, exit codes, and its calls to AWS.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tollgate_domain::assignment::{AssignReply, AssignRequest};

use crate::support::world::{PASSWORD, PEPPER, assignment, limits, plan_bucket};
use crate::support::{World, body_of, connect, eventually, read_all, read_head, status};

pub fn program() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tollgate-edge"));
    c.env_clear().stderr(Stdio::piped());
    c
}

#[test]
fn bad_settings_end_with_64_and_name_the_variable() {
    for (key, value) in [("TOLLGATE_EDGE_ID", ""), ("TOLLGATE_EDGE_ID", "Edge One")] {
        let out = program().env(key, value).output().unwrap();
        assert_eq!(out.status.code(), Some(64));
        assert!(String::from_utf8(out.stderr).unwrap().contains(key));
    }
}

/// Secrets Manager and Lambda, as far as the program calls them.
async fn aws(listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            loop {
                let head = read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                let body = body_of(&mut stream, &head).await;
                let answer = if head.starts_with("POST /2015-03-31/functions/assign/invocations") {
                    let ask: AssignRequest = serde_json::from_str(&body).unwrap();
                    serde_json::to_string(&AssignReply::Bound { assignment: Box::new(assignment(&ask)) }).unwrap()
                } else {
                    let secret = if body.contains("\"pepper\"") { PEPPER } else { "zone-password" };
                    assert!(body.contains("pepper") || body.contains("x/brd/gateway"), "{body}");
                    serde_json::json!({ "Name": "n", "SecretString": secret }).to_string()
                };
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// What the program lives in: the tables and AWS behind sockets, addresses to listen on, a file
/// for what it says.
pub struct Around {
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub tables_at: SocketAddr,
    others_at: SocketAddr,
    dir: TempDir,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Around {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Around {
    pub async fn start(w: &World) -> Self {
        let (tables, tables_at) = bind().await;
        let (others, others_at) = bind().await;
        let tasks = [w.engine.serve(tables), tokio::spawn(aws(others))];
        // Free a moment ago: the program binds them itself.
        let (gateway, admin) = (bind().await.1, bind().await.1);
        Self { gateway, admin, tables_at, others_at, dir: TempDir::new().unwrap(), tasks }
    }

    fn said_in(&self) -> PathBuf {
        self.dir.path().join("stderr")
    }

    /// All that programs said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.said_in()).unwrap()
    }

    /// A file that tests write for the program.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The program over `w`'s tables.
    pub fn program(&self, w: &World) -> Command {
        let said = File::options().append(true).create(true).open(self.said_in()).unwrap();
        let mut c = program();
        c.stderr(said)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", self.tables_at))
            .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("http://{}", self.others_at))
            .env("AWS_ENDPOINT_URL_LAMBDA", format!("http://{}", self.others_at))
            .env("TOLLGATE_EDGE_ID", "edge1")
            .env("TOLLGATE_EDGE_DATA_DIR", w.data_dir())
            .env("TOLLGATE_EDGE_LISTEN", self.gateway.to_string())
            .env("TOLLGATE_EDGE_ADMIN", self.admin.to_string())
            .env("TOLLGATE_EDGE_DIAL_ALLOW", "127.0.0.0/8")
            .env("TOLLGATE_EDGE_DRAIN_S", "1")
            .env("TOLLGATE_TABLE_PREFIX", "t-")
            .env("TOLLGATE_ASSIGN_FUNCTION", "assign")
            .env("TOLLGATE_PEPPER_SECRET", "pepper")
            .env("TOLLGATE_SECRET_PREFIX", "x/");
        c
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_settles_and_exits_0() {
    let w = World::new(1 << 20, limits()).await;
    let around = Around::start(&w).await;
    let gateway = around.gateway;
    let mut child = around.program(&w).spawn().unwrap();
    eventually("it listens", || async { TcpStream::connect(gateway).await.is_ok() }).await;
    // The tables' plan is of February 2024: the program's clock is today's.
    let (_c, head) = connect(gateway, "bytes.test:700", "demo", PASSWORD).await;
    assert_eq!(status(&head), 402, "{head}");
    w.grant_for_today().await;
    let mut got = 0;
    for _ in 0..400 {
        let (mut c, head) = connect(gateway, "bytes.test:700", "demo", PASSWORD).await;
        if status(&head) == 200 {
            got = read_all(&mut c).await.len();
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(got, 700);
    // One tunnel is open when the signal comes.
    let (_c, head) = connect(gateway, "silent.test:1", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    let exit = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    let log = around.said();
    assert_eq!(exit.code(), Some(0), "{log}");
    assert!(w.files().is_empty());
    let folded: u64 =
        w.store.allowances(&crate::support::world::demo()).await.unwrap().iter().map(|(_, a)| a.folded).sum();
    assert_eq!(folded, 700);
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 0);
    // The access log is JSON, tells the tunnel, and holds no secret.
    let access = log.lines().find(|l| l.contains("\"kind\":\"tunnel\"")).unwrap();
    let access: serde_json::Value = serde_json::from_str(access).unwrap();
    assert_eq!(
        (&access["customer"], &access["egress_bytes"], &access["reason"]),
        (&"demo".into(), &700.into(), &"finished".into())
    );
    for secret in [PASSWORD, PEPPER, "zone-password"] {
        assert!(!log.contains(secret));
    }
}

async fn signal(child: &std::process::Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_applies_a_good_file_and_keeps_the_old_settings_over_a_bad_one() {
    let w = World::new(0, limits()).await;
    let around = Around::start(&w).await;
    let logs = TempDir::new().unwrap();
    let path = |name: &str| logs.path().join(name);
    let file = |log: &str, more: &str| format!("{more}\n[access_log]\npath = {:?}\n", path(log));
    let at = around.file("edge.toml", &file("one.log", ""));
    let manager = std::os::unix::net::UnixDatagram::bind(path("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let heard = || {
        let mut buf = [0; 256];
        let n = manager.recv(&mut buf).unwrap();
        String::from_utf8(buf[..n].to_vec()).unwrap()
    };
    let mut child = around.program(&w).arg("--config").arg(&at).env("NOTIFY_SOCKET", path("notify")).spawn().unwrap();
    assert!(heard().starts_with("READY=1"));
    assert!(path("one.log").exists());

    around.file("edge.toml", &file("two.log", "auth.failures = 11"));
    signal(&child, "-HUP").await;
    assert!(heard().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(heard().starts_with("READY=1"));
    eventually("the new file is used", || std::future::ready(path("two.log").exists())).await;
    let said = around.said();
    let waits = said.lines().find(|l| l.contains("waits for the next start")).unwrap();
    assert!(waits.contains("\"key\":\"auth.failures\""), "{waits}");

    around.file("edge.toml", &file("three.log", "idel_s = 7"));
    signal(&child, "-HUP").await;
    assert!(heard().starts_with("RELOADING=1"));
    assert!(heard().starts_with("READY=1"));
    assert!(around.said().contains("idel_s: is no known setting; did you mean idle_s?"));
    let metrics = get(around.admin, "/metrics").await;
    for line in ["reloads_total{outcome=\"applied\"} 1", "reloads_total{outcome=\"refused\"} 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    assert!(!path("three.log").exists());

    // An external logrotate.
    std::fs::rename(path("two.log"), path("moved.log")).unwrap();
    signal(&child, "-USR1").await;
    eventually("the file is opened again", || std::future::ready(path("two.log").exists())).await;
    signal(&child, "-TERM").await;
    assert!(heard().starts_with("STOPPING=1"));
    let exit = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(exit.code(), Some(0), "{}", around.said());
}

async fn get(admin: SocketAddr, path: &str) -> String {
    let mut c = TcpStream::connect(admin).await.unwrap();
    c.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    String::from_utf8(read_all(&mut c).await).unwrap()
}

#[test]
fn check_config_prints_what_holds_or_all_that_is_wrong() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("edge.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        program().args(["--check-config", "--config"]).arg(&file).env("TOLLGATE_EDGE_IDLE_S", "7").output().unwrap()
    };
    let good = "id = 'edge1'\nassign_function = 'assign'\npepper_secret = 'the/pepper'\n";
    let out = check(good);
    assert_eq!(out.status.code(), Some(0));
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(shown.contains("idle_s = 7  # TOLLGATE_EDGE_IDLE_S\n"), "{shown}");
    assert!(shown.contains("pepper_secret = \"the/pepper\""), "{shown}");
    // What is printed is a file that means the same.
    assert_eq!(check(&shown).status.code(), Some(0));

    let bad = check("id = 'Edge One'\nassign_function = 'assign'\nwrokers = 1\nheader_s = 0\n");
    assert_eq!(bad.status.code(), Some(64));
    let told = String::from_utf8(bad.stderr).unwrap();
    for part in [
        "id: \"Edge One\"",
        "wrokers: is no known setting; did you mean workers?",
        "header_s: 0 is not within",
        "pepper_secret (or TOLLGATE_PEPPER_SECRET): is not set",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let missing = check(&format!("{good}tls.certificate = '/nowhere/a'\ntls.key = '/nowhere/b'\n"));
    assert_eq!(missing.status.code(), Some(64));
    let told = String::from_utf8(missing.stderr).unwrap();
    assert!(told.contains("/nowhere/a cannot be read") && told.contains("/nowhere/b cannot be read"), "{told}");
}

#[test]
fn the_command_line_explains_itself() {
    let help = program().arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for word in ["--config", "--check-config", "--takeover", "SIGHUP"] {
        assert!(text.contains(word), "{text}");
    }
    let version = program().arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("tollgate-edge {}\n", env!("CARGO_PKG_VERSION")));
    let wrong = program().arg("--chekc-config").output().unwrap();
    assert_eq!(wrong.status.code(), Some(64));
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("--chekc-config"));
    let unread = program().args(["--config", "/nowhere/edge.toml"]).output().unwrap();
    assert_eq!(unread.status.code(), Some(64));
    assert!(String::from_utf8(unread.stderr).unwrap().contains("/nowhere/edge.toml"));
}
