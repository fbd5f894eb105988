//! A built function under Lambda's Runtime API, as AWS runs it.

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tollgate_domain::time::Clock;
use tollgate_store::SystemClock;

use crate::workspace;

/// Longest time that an event may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a function made of an event: its answer, or the error it reported.
pub type Outcome = Result<Value, Value>;

struct Job {
    id: String,
    payload: Value,
    answer: oneshot::Sender<Outcome>,
}

struct Runtime {
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Job>>,
    taken: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    failed: Mutex<Option<Value>>,
}

/// A running function. It is killed when this is dropped.
pub struct Function {
    queue: mpsc::UnboundedSender<Job>,
    runtime: Arc<Runtime>,
    log: Arc<Mutex<String>>,
    next: AtomicU64,
    server: JoinHandle<()>,
    child: Mutex<Child>,
}

impl Function {
    /// Starts the function's binary with this environment and nothing else of ours.
    ///
    /// # Panics
    /// If it cannot be started.
    pub async fn start(binary: &str, environment: &BTreeMap<String, String>) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let runtime = Arc::new(Runtime {
            queue: tokio::sync::Mutex::new(jobs),
            taken: Mutex::default(),
            failed: Mutex::default(),
        });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(Arc::clone(&runtime));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let mut child = Command::new(workspace::binary("tollgate-functions", binary))
            .env_clear()
            .envs(environment)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", binary)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{binary}: {e}"));
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        Self { queue, runtime, log, next: AtomicU64::new(1), server, child: Mutex::new(child) }
    }

    /// Sends an event and waits for what the function makes of it.
    ///
    /// # Panics
    /// If nothing comes back within a minute, with the function's log.
    pub async fn invoke(&self, payload: Value) -> Outcome {
        let id = format!("00000000-0000-4000-8000-{:012}", self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, mut answered) = oneshot::channel();
        self.queue.send(Job { id, payload, answer }).unwrap_or_else(|_| panic!("the runtime is gone"));
        loop {
            tokio::select! {
                outcome = &mut answered => return outcome.unwrap_or_else(|_| panic!("no answer\n{}", self.log())),
                () = tokio::time::sleep(Duration::from_millis(20)) => self.still_there(),
            }
        }
    }

    /// Sends an event that is expected to go well.
    ///
    /// # Panics
    /// If the function reports an error.
    pub async fn call(&self, payload: Value) -> Value {
        self.invoke(payload).await.unwrap_or_else(|e| panic!("the function failed: {e}\n{}", self.log()))
    }

    /// What the function has written so far.
    ///
    /// # Panics
    /// Never: the lock is never poisoned.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn still_there(&self) {
        if let Some(why) = self.runtime.failed.lock().unwrap().take() {
            panic!("the cold start failed: {why}\n{}", self.log());
        }
        if let Some(status) = self.child.lock().unwrap().try_wait().unwrap() {
            panic!("the function ended: {status}\n{}", self.log());
        }
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn collect(output: impl tokio::io::AsyncRead + Unpin + Send + 'static, log: &Arc<Mutex<String>>) {
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
}

// === the Runtime API ===

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    let Some(job) = runtime.queue.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = SystemClock.now().plus(TIMEOUT).as_millis().to_string();
    let headers = [
        ("lambda-runtime-aws-request-id", job.id.clone()),
        ("lambda-runtime-deadline-ms", deadline),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:tests".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".to_owned()),
    ];
    runtime.taken.lock().unwrap().insert(job.id, job.answer);
    (headers, axum::Json(job.payload)).into_response()
}

async fn response(State(runtime): State<Arc<Runtime>>, Path(id): Path<String>, body: String) -> StatusCode {
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap_or(Value::String(body)) };
    runtime.end(&id, Ok(body))
}

async fn error(State(runtime): State<Arc<Runtime>>, Path(id): Path<String>, body: String) -> StatusCode {
    runtime.end(&id, Err(serde_json::from_str(&body).unwrap_or(Value::String(body))))
}

async fn init_error(State(runtime): State<Arc<Runtime>>, body: String) -> StatusCode {
    *runtime.failed.lock().unwrap() = Some(Value::String(body));
    StatusCode::ACCEPTED
}

impl Runtime {
    fn end(&self, id: &str, outcome: Outcome) -> StatusCode {
        match self.taken.lock().unwrap().remove(id) {
            // A test that no longer waits has failed already.
            Some(answer) => {
                let _ = answer.send(outcome);
                StatusCode::ACCEPTED
            }
            None => StatusCode::NOT_FOUND,
        }
    }
}
