//! An edge in a process of its own: this executable again, in the role of `tollgate-edge`. It
//! finds the run's database, assigner and secrets where it would find AWS.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::process::Command;
use tollgate_domain::id::EdgeId;
use tollgate_functions::passwords::PEPPER;

use crate::front;

/// The first word of such a process. People have no use for it: no help names it.
const ROLE: &str = "edge-process";
/// The run is gone: nothing can be settled here. The journal stays for the next start.
const ORPHAN: i32 = 1;

/// Where an edge listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which edge.
    pub id: EdgeId,
    /// Its gateway.
    pub gateway: SocketAddr,
    /// Its health and metrics.
    pub admin: SocketAddr,
}

/// What all edges of a run are told.
pub struct Shared {
    /// Opens [`Self::database`] and [`Self::front`]: any program of the machine reaches them.
    pub key: SecretString,
    /// The embedded DynamoDB.
    pub database: SocketAddr,
    /// What stands for Lambda and Secrets Manager.
    pub front: SocketAddr,
    /// Each edge's folder is in here.
    pub data_dir: PathBuf,
    /// Relay threads of each.
    pub workers: usize,
    /// Ranges that gateways may be in: the simulated one is on loopback.
    pub dial_allow: String,
    /// Tunnels get this long to end by themselves.
    pub drain: Duration,
    /// What their logs let through.
    pub log: String,
}

/// The words of an edge, its own name first, if this process was started as one.
#[must_use]
pub fn words() -> Option<Vec<OsString>> {
    let mut words: Vec<_> = std::env::args_os().collect();
    words.get(1).is_some_and(|w| w == ROLE).then(|| {
        words.remove(1);
        words
    })
}

/// Runs the edge to its end.
#[must_use]
pub fn main(words: Vec<OsString>) -> ExitCode {
    end_with_the_run();
    tollgate_edge::program::main(words)
}

/// Our standard input is a pipe that the run holds and never writes to: it ends when the run
/// does, however that ends.
fn end_with_the_run() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        std::process::exit(ORPHAN);
    });
}

/// The command that starts the edge of `place`. Its log is our standard error.
///
/// # Errors
/// If the path of this executable or the edge's folder cannot be had.
pub fn command(place: &Place, shared: &Shared) -> std::io::Result<Command> {
    let folder = shared.data_dir.join(place.id.as_str());
    std::fs::create_dir_all(&folder)?;
    let at = |address: SocketAddr| format!("http://{address}");
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(ROLE)
        // What configures AWS or an edge for the person who runs this is not meant for it.
        .env_clear()
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", shared.key.expose_secret())
        .env("AWS_SECRET_ACCESS_KEY", "local")
        .env("AWS_ENDPOINT_URL_DYNAMODB", at(shared.database))
        .env("AWS_ENDPOINT_URL_LAMBDA", at(shared.front))
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", at(shared.front))
        .env("TOLLGATE_ASSIGN_FUNCTION", front::ASSIGN)
        .env("TOLLGATE_PEPPER_SECRET", PEPPER)
        .env("TOLLGATE_EDGE_ID", place.id.as_str())
        .env("TOLLGATE_EDGE_DATA_DIR", &folder)
        .env("TOLLGATE_EDGE_LISTEN", place.gateway.to_string())
        .env("TOLLGATE_EDGE_ADMIN", place.admin.to_string())
        .env("TOLLGATE_EDGE_WORKERS", shared.workers.to_string())
        .env("TOLLGATE_EDGE_DIAL_ALLOW", &shared.dial_allow)
        .env("TOLLGATE_EDGE_DRAIN_S", shared.drain.as_secs().to_string())
        .env("TOLLGATE_EDGE_ACCESS_LOG_PATH", folder.join("access.log"))
        // From within the folder, so that no data directory is too deep for the name of a socket.
        .env("TOLLGATE_EDGE_TAKEOVER_SOCKET", "takeover.sock")
        .env("TOLLGATE_LOG", &shared.log)
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Ctrl-C in a terminal is for the run alone, which ends its edges in order.
        .process_group(0)
        .kill_on_drop(true);
    Ok(command)
}
