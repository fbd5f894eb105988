//! Size and cold start of the functions: process start to the first answer, through the Runtime
//! API, with the store on loopback. Build the functions with the same profile first.
//!
//! `cargo build --release -p tollgate-functions --bins && cargo run --release -p tollgate-tests --example cold_start`

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a tool that prints

use std::time::{Duration, Instant};

use serde_json::Value;
use tollgate_tests::cloud::Cloud;
use tollgate_tests::function::Function;
use tollgate_tests::payload::{Request, tick};
use tollgate_tests::workspace;

/// Cold starts of each function.
const RUNS: usize = 40;

#[tokio::main]
async fn main() {
    let cloud = Cloud::start().await;
    // One store call: a key that nobody has.
    let unknown = |path| Request::new("GET", path).header("x-api-key", "EXAMPLE").header("x-admin-api-key", "EXAMPLE");
    let events: [(&str, Value, &str); 8] = [
        ("customer-api", unknown("/v1/me").event(), "401 after one GetItem"),
        ("admin-api", unknown("/admin/users").event(), "401 after one GetItem"),
        ("assign", order(), "refused after the first wave of reads"),
        ("release-idle", tick(), "16 queries one after another"),
        ("reconcile", tick(), "one Query"),
        ("create-budgets", tick(), "8 queries at once"),
        ("expire-leases", tick(), "one Query"),
        ("rollup", tick(), "8 queries at once"),
    ];
    println!("| function | size, bytes | p50, ms | p99, ms | first answer |\n|---|---|---|---|---|");
    for (binary, event, what) in events {
        let mut environment = cloud.template().environment();
        environment.extend(cloud.credentials(binary).await);
        let mut times = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            let began = Instant::now();
            let function = Function::start(binary, &environment).await;
            function.call(event.clone()).await;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let ms = |t: Duration| format!("{:.1}", t.as_secs_f64() * 1000.0);
        let size = std::fs::metadata(workspace::binary("tollgate-functions", binary)).unwrap().len();
        println!("| `{binary}` | {size} | {} | {} | {what} |", ms(times[RUNS / 2]), ms(times[RUNS - 1]));
    }
}

/// A question for a customer that does not exist.
fn order() -> Value {
    serde_json::json!({
        "customer": "nobody", "line": { "customer": "nobody", "label": "x" }, "country": "be",
        "hold": { "until": "tunnels" }, "correlation_id": "cold",
    })
}
