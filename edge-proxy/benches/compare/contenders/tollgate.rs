//! The edge: the product's own program, set by its environment as on AWS.
//!
//! `COMPARE_UNDER`, if set, is a program, with its arguments, that starts the edge: a profiler.
//! `COMPARE_UNDER='valgrind --tool=callgrind'` counts the instructions of the edge's own code
//! where the machine counts none: the difference of two runs with other `--ops` is what an operation takes.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Beside, Running, customer};
use crate::Res;
use crate::client::Door;
use crate::cloud::{PREFIX, UNLIMITED};
use crate::cores::{Cores, Place};
use crate::process::{Process, free_address};
use crate::rows::Rows;

pub const WHAT: &str = "the edge's own program, one worker: user:password, admission with every limit set, lease, \
    journal, metering, own credentials to the upstream, access log to a file, settling to its store";

/// Starts the store beside it, then the edge.
///
/// # Errors
/// If one of them does not begin.
pub fn start(cores: &Cores, upstream: SocketAddr) -> Res<Running> {
    let (cloud, at) = Process::role(cores, Place::Others, "cloud", &[upstream.to_string()])?;
    let [tables, services] = at[..] else { return Err("the store has two addresses".into()) };
    let folder = TempDir::new()?;
    let rows = Rows::new(folder.path(), upstream)?;
    let (gateway, admin) = (free_address()?, free_address()?);
    let mut command = program();
    command
        .env_clear()
        .envs([
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
            ("TOLLGATE_EDGE_ID", "edge1"),
            ("TOLLGATE_EDGE_WORKERS", "1"),
            ("TOLLGATE_EDGE_DIAL_ALLOW", "127.0.0.0/8"),
            ("TOLLGATE_EDGE_DRAIN_S", "0"),
            ("TOLLGATE_TABLE_PREFIX", PREFIX),
            ("TOLLGATE_ASSIGN_FUNCTION", "assign"),
            ("TOLLGATE_PEPPER_SECRET", "pepper"),
        ])
        .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{tables}"))
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", format!("http://{services}"))
        .env("AWS_ENDPOINT_URL_LAMBDA", format!("http://{services}"))
        .env("TOLLGATE_EDGE_DATA_DIR", folder.path().join("data"))
        .env("TOLLGATE_EDGE_LISTEN", gateway.to_string())
        .env("TOLLGATE_EDGE_ADMIN", admin.to_string())
        .env("TOLLGATE_EDGE_PORTS_FILE", &rows.file)
        .env("TOLLGATE_EDGE_PORTS_BIND", rows.bind.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.path().join("log"))?);
    let process = Process::program(cores, &mut command, gateway)?;
    let door = Door { at: gateway, authorization: customer(UNLIMITED) };
    Ok(Running { door, process, rows: Some(rows), _beside: Some(Beside { _process: Some(cloud), _folder: folder }) })
}

fn program() -> Command {
    let edge = env!("CARGO_BIN_EXE_tollgate-edge");
    let under = std::env::var("COMPARE_UNDER").unwrap_or_default();
    let mut words = under.split_whitespace();
    match words.next() {
        None => Command::new(edge),
        Some(profiler) => {
            let mut command = Command::new(profiler);
            command.args(words).arg(edge);
            command
        }
    }
}
