//! Real clients with credentials, through a running `tollgate`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::local_run::{Ended, LocalRun, ended};
use crate::workspace;

/// Where clients come out.
pub const COUNTRY: &str = "nl";

/// The folder of installed libraries: `python`, `node` and `bridge`. Installs them if `tests/run` has not.
///
/// # Panics
/// If they cannot be installed: there is no client without them.
#[must_use]
pub fn installed() -> PathBuf {
    let dir = workspace::tools().join("clients");
    let ran = ended(Command::new(workspace::root().join("tests/clients/install")).arg(&dir));
    assert_eq!(ran.code, Some(0), "tests/clients/install: {ran:?}");
    dir
}

/// A program of this machine by its name; says so if there is none.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("{name} is not installed: not driven as a client");
    }
    found
}

/// A command in whose environment nobody else configures a proxy or trust.
#[must_use]
pub fn client(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        let foreign = text.ends_with("_PROXY") || text.starts_with("GIT_") || text.starts_with("JAVA_TOOL");
        if foreign || ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_OPTIONS"].contains(&&*text) {
            command.env_remove(name);
        }
    }
    command
}

/// A running system and one line of its customer, for one client.
pub struct Story {
    temp: tempfile::TempDir,
    /// The system.
    pub run: LocalRun,
    line: String,
}

impl Story {
    /// Starts a system.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn of(line: &str) -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let run = LocalRun::start(temp.path());
        Self { temp, run, line: line.to_owned() }
    }

    /// The line's user name.
    #[must_use]
    pub fn user(&self) -> String {
        format!("demo-line-{}-country-{COUNTRY}", self.line)
    }

    /// The line as an HTTP proxy.
    #[must_use]
    pub fn http(&self) -> String {
        self.run.proxy(&self.user())
    }

    /// The line as a SOCKS5 proxy that resolves names.
    #[must_use]
    pub fn socks(&self) -> String {
        self.http().replacen("http:", "socks5h:", 1)
    }

    /// The line with another password.
    #[must_use]
    pub fn wrong(&self, scheme: &str) -> String {
        format!("{scheme}://{}:EXAMPLE-wrong@{}", self.user(), self.run.addr("gateway"))
    }

    /// The authority of `https://origin.test`.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn ca(&self) -> &Path {
        Path::new(self.run.at["origin_ca"].as_str().expect("run.json says where the authority is"))
    }

    /// Runs a program of `tests/clients`, which is told the line, and must say `ok` of each case.
    ///
    /// # Panics
    /// If it does not.
    pub fn passes(&self, command: &mut Command, cases: &[&str]) {
        command.env("HTTP_LINE", self.http()).env("SOCKS_LINE", self.socks());
        command.env("CA", self.ca()).env("COUNTRY", COUNTRY);
        let ran = ended(command);
        let said: Vec<&str> = ran.out.lines().filter_map(|l| l.strip_prefix("ok ")).collect();
        assert!(ran.code == Some(0) && said == cases, "{ran:?}\n{}", self.run.log());
    }

    /// Ends the system, and reads from its next life what the line was charged for.
    ///
    /// # Panics
    /// If bytes went to another line, or less than `least` was metered.
    pub fn metered(self, least: u64) {
        let Self { temp, run, line } = self;
        let lines = run.customer_api("GET", "/v1/assignments", None).json();
        let labels: Vec<_> = lines["assignments"].as_array().unwrap().iter().map(|a| a["line"].clone()).collect();
        assert_eq!(labels, [line], "{lines}");
        assert_eq!(run.end("-TERM").code(), Some(0));
        let run = LocalRun::start(temp.path());
        let usage = run.customer_api("GET", "/v1/me/usage", None).json();
        let used: u64 = usage["buckets"].as_array().unwrap().iter().map(|b| b["usedBytes"].as_u64().unwrap()).sum();
        assert!(used > 0 && used >= least, "{used} bytes metered, not {least}: {usage}");
    }
}

/// What a client said, which must have ended well.
///
/// # Panics
/// If it has not.
#[must_use]
pub fn fine(ran: Ended) -> String {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out
}
