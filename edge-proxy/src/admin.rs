//! The admin listener, on loopback: `/healthz`, `/readyz`, `/metrics`, `/ports`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::core::Core;
use crate::http::{RequestHead, head};
use crate::metrics;
use crate::upstreams::PortStatus;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 64;
/// Time for one request and its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A feed that was not read for this long makes the edge not ready.
const FEED_LAG: Duration = Duration::from_secs(15);
/// Answers for people.
const PLAIN: &str = "text/plain; charset=utf-8";
/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn serve(core: Arc<Core>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let core = Arc::clone(&core);
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, answer(&core, stream)).await;
            drop(permit);
        });
    }
}

async fn answer(core: &Core, mut stream: TcpStream) {
    let mut buf = Vec::new();
    let path = loop {
        match head::complete(&buf, 0) {
            Ok(Some(n)) => match RequestHead::parse(&buf[..n]) {
                Ok(head) if head.method() == "GET" => break head.target().to_owned(),
                _ => return,
            },
            Ok(None) => {}
            Err(_) => return,
        }
        if !matches!(stream.read_buf(&mut buf).await, Ok(1..)) {
            return;
        }
    };
    let (status, kind, body) = match path.as_str() {
        "/healthz" => ("200 OK", PLAIN, "ok\n".to_owned()),
        "/readyz" => {
            let (status, body) = ready(core);
            (status, PLAIN, body)
        }
        "/metrics" => ("200 OK", METRICS, metrics::page(core)),
        "/ports" => ("200 OK", "application/json", ports(core)),
        _ => ("404 Not Found", PLAIN, "not found\n".to_owned()),
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn ready(core: &Core) -> (&'static str, String) {
    let lag = core.metrics.feed.lag(Instant::now());
    if core.draining() {
        ("503 Service Unavailable", "draining\n".to_owned())
    } else if core.reach.lost() {
        ("503 Service Unavailable", "cut off from the store for too long\n".to_owned())
    } else if lag > FEED_LAG {
        ("503 Service Unavailable", format!("the feed was last read {} s ago\n", lag.as_secs()))
    } else {
        ("200 OK", "ready\n".to_owned())
    }
}

/// As JSON.
fn ports(core: &Core) -> String {
    let rows: Vec<_> = core.upstreams.status().iter().map(PortStatus::json).collect();
    serde_json::Value::from(rows).to_string() + "\n"
}
