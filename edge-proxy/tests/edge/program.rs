//! The program: settings, signals, exit codes, and its calls to AWS.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tollgate_domain::assignment::{AssignReply, AssignRequest};

use crate::support::world::{PASSWORD, PEPPER, assignment, limits, plan_bucket};
use crate::support::{World, body_of, connect, eventually, read_all, read_head, status};

fn program() -> Command {
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

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_settles_and_exits_0() {
    let w = World::new(1 << 20, limits()).await;
    let (tables, tables_at) = bind().await;
    let server = w.engine.serve(tables);
    let (others, others_at) = bind().await;
    let aws = tokio::spawn(aws(others));
    // Free a moment ago: the program binds them itself.
    let (gateway, admin) = (bind().await.1, bind().await.1);
    let mut child = program()
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{tables_at}"))
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("http://{others_at}"))
        .env("AWS_ENDPOINT_URL_LAMBDA", format!("http://{others_at}"))
        .env("TOLLGATE_EDGE_ID", "edge1")
        .env("TOLLGATE_EDGE_DATA_DIR", w.data_dir())
        .env("TOLLGATE_EDGE_LISTEN", gateway.to_string())
        .env("TOLLGATE_EDGE_ADMIN", admin.to_string())
        .env("TOLLGATE_EDGE_DIAL_ALLOW", "127.0.0.0/8")
        .env("TOLLGATE_EDGE_DRAIN_S", "1")
        .env("TOLLGATE_TABLE_PREFIX", "t-")
        .env("TOLLGATE_ASSIGN_FUNCTION", "assign")
        .env("TOLLGATE_PEPPER_SECRET", "pepper")
        .env("TOLLGATE_SECRET_PREFIX", "x/")
        .spawn()
        .unwrap();
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
    let exit = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut log).unwrap();
        (child.wait().unwrap(), log)
    });
    let (exit, log) = exit.await.unwrap();
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
    aws.abort();
    server.abort();
}
