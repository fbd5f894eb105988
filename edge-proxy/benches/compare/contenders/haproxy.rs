//! Debian's HAProxy, one thread, splicing forced, in two settings.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Beside, Running, customer};
use crate::Res;
use crate::client::Door;
use crate::cloud::{PASSWORD, UNLIMITED};
use crate::cores::Cores;
use crate::process::{Process, free_address};
use crate::upstream::AUTHORIZATION;

pub const WHAT: &str = "one thread, mode http: Basic credentials of one user from a userlist, own credentials to the \
    upstream, upstream connections kept, tunnels spliced (forced), log line a request to a file; no customers, limits, \
    metering, journal or store";
pub const WHAT_TCP: &str = "one thread, mode tcp: splice forced, log line a connection to a file; it sees no request: \
    the client talks to the upstream with the upstream's credentials";

/// Why it cannot be compared here.
#[must_use]
pub fn missing() -> Option<&'static str> {
    let found = Command::new(PROGRAM).arg("-v").stdin(Stdio::null()).output();
    found.is_err().then_some("haproxy is not installed (apt-get install haproxy)")
}

const PROGRAM: &str = "haproxy";

/// Starts it. In front of an HTTP proxy it is a proxy itself (`http`), or a relay.
///
/// # Errors
/// If it does not begin.
pub fn start(cores: &Cores, upstream: SocketAddr, http: bool) -> Res<Running> {
    let folder = TempDir::new()?;
    let at = free_address()?;
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, settings(at, upstream, http))?;
    let mut command = Command::new(PROGRAM);
    command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(File::create(folder.path().join("log"))?);
    let process = Process::program(cores, &mut command, at)?;
    let authorization = if http { customer(UNLIMITED) } else { AUTHORIZATION.clone() };
    let door = Door { at, authorization };
    Ok(Running { door, process, rows: None, _beside: Some(Beside { _process: None, _folder: folder }) })
}

/// 9,300 connections and 500 pipes fit into 20,000 descriptors.
fn settings(at: SocketAddr, upstream: SocketAddr, http: bool) -> String {
    let (mode, log) = if http { ("http", "httplog") } else { ("tcp", "tcplog") };
    let mut text = format!(
        "global
  nbthread 1
  maxconn 9300
  maxpipes 500
  no strict-limits
  log stderr format raw local0
defaults
  mode {mode}
  log global
  option {log}
  option splice-request
  option splice-response
  timeout connect 10s
  timeout client 300s
  timeout server 300s
  timeout tunnel 300s
"
    );
    if http {
        text += &format!(
            "  option http-use-proxy-header
  http-reuse always
userlist customers
  user {UNLIMITED} insecure-password {PASSWORD}
"
        );
    }
    text += &format!("frontend gateway\n  bind {at}\n");
    if http {
        text += &format!(
            "  http-request auth realm compare unless {{ http_auth(customers) }}
  http-request set-header Proxy-Authorization \"{}\"
",
            AUTHORIZATION.as_str()
        );
    }
    text += &format!("  default_backend upstream\nbackend upstream\n  server upstream {upstream}\n");
    text
}
