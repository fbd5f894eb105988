//! One life of an edge: a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::within;

/// Time for a start, its recovery included, or for an end.
const PATIENCE: Duration = Duration::from_secs(60);

/// An edge that was started and may not serve yet. It is killed when this is dropped.
pub struct Process {
    child: Child,
    said_in: PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts it; what it says goes to a file.
    pub fn start(program: &mut Command, said_in: PathBuf) -> Self {
        let child = program.stderr(File::create(&said_in).unwrap()).spawn().unwrap();
        Self { child, said_in }
    }

    /// Kills it without a word.
    pub fn kill(self) {
        drop(self);
    }

    /// Waits until it serves: until then it has settled what earlier lives left behind.
    pub async fn serves(mut self) -> Life {
        let end = Instant::now() + PATIENCE;
        let said = loop {
            if let Some(said) = self.record("edge serves") {
                break said;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}"));
        Life { gateway: text("gateway").parse().unwrap(), session: text("session").to_owned(), process: self }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said_in).unwrap()
    }

    /// The first record in the log with this message.
    fn record(&self, message: &str) -> Option<Value> {
        // The last line may not be whole yet.
        self.said().lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).find(|v| v["message"] == *message)
    }
}

/// An edge that serves.
pub struct Life {
    process: Process,
    /// The edge and its epoch, `edge1.3`.
    pub session: String,
    pub gateway: SocketAddr,
}

impl Life {
    /// Kills it without a word.
    pub fn kill(self) {
        self.process.kill();
    }

    /// Asks it to end, and waits until it has, well.
    pub async fn end(mut self) {
        let child = &mut self.process.child;
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(told.success());
        within(PATIENCE, "it ends", || std::future::ready(child.try_wait().unwrap().is_some())).await;
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.process.said());
    }
}
