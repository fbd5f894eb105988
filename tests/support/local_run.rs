//! A running `tollgate`, as a person starts it: the built binary, a data directory, a banner.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::workspace::binary;

/// The banner's last line begins like this.
const READY: &str = "Ctrl-C";
/// The built `tollgate`, not started yet, in the environment of nobody in particular.
#[must_use]
pub fn tollgate() -> Command {
    let mut command = Command::new(binary("tollgate-local", "tollgate"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("BRIGHT_DATA") || text == "USE_PROXY" || text == "RUST_LOG" || text.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A `tollgate` that has printed its banner. Dropped, it is killed, and tells its log if the test
/// fails.
pub struct LocalRun {
    child: Child,
    /// Where it keeps its data.
    pub dir: PathBuf,
    /// All it printed until everything answered.
    pub banner: String,
    /// Time from its start to the end of the banner.
    pub took: Duration,
    /// `run.json`.
    pub at: Value,
    log: tempfile::NamedTempFile,
    _stdout: BufReader<ChildStdout>,
}

impl LocalRun {
    /// Starts one on free ports.
    #[must_use]
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[], &[])
    }

    /// Starts one on free ports, with more arguments and variables.
    ///
    /// # Panics
    /// If it ends instead of printing its banner.
    #[must_use]
    pub fn start_with(dir: &Path, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let began = Instant::now();
        let mut command = tollgate();
        command.args(["--gateway", "127.0.0.1:0", "--api", "127.0.0.1:0", "--edge-admin", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(dir).args(args).envs(vars.iter().copied());
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut child = command.stderr(log.reopen().expect("the log")).spawn().expect("tollgate starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        let mut banner = String::new();
        loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).expect("its standard output is text") == 0 {
                let said = std::fs::read_to_string(log.path()).unwrap_or_default();
                panic!("tollgate ended ({:?}) instead of serving: {banner}{said}", child.wait());
            }
            banner.push_str(&line);
            if line.starts_with(READY) {
                break;
            }
        }
        let took = began.elapsed();
        let run = std::fs::read(dir.join("run.json")).expect("run.json is there before the banner");
        let at = serde_json::from_slice(&run).expect("run.json is JSON");
        Self { child, dir: dir.to_owned(), banner, took, at, log, _stdout: stdout }
    }

    /// Where a part listens, as `run.json` says.
    #[must_use]
    pub fn addr(&self, part: &str) -> &str {
        self.at[part].as_str().unwrap_or_else(|| panic!("run.json says where {part} is"))
    }

    /// The password of the seeded credential, from the banner's first `curl`.
    #[must_use]
    pub fn password(&self) -> &str {
        let (_, rest) = self.banner.split_once("-line-chip1-country-be:").expect("a curl line");
        rest.split_once('@').expect("a proxy URL").0
    }

    /// The proxy URL for this user name.
    #[must_use]
    pub fn proxy(&self, user: &str) -> String {
        format!("http://{user}:{}@{}", self.password(), self.addr("gateway"))
    }

    /// The value after `name` in the banner's list of keys.
    #[must_use]
    pub fn key(&self, name: &str) -> &str {
        let line = self.banner.lines().find_map(|l| l.trim().strip_prefix(name)).expect("the key is in the banner");
        line.split_whitespace().next().expect("a key")
    }

    /// A secret of this installation, which its owner may read.
    #[must_use]
    pub fn secret(&self, name: &str) -> String {
        let file = std::fs::read(self.dir.join("secrets.json")).expect("the owner may read secrets.json");
        let map: Value = serde_json::from_slice(&file).expect("secrets.json is JSON");
        map[name].as_str().unwrap_or_else(|| panic!("there is a secret {name}")).to_owned()
    }

    /// Calls the customer API with the customer's key.
    #[must_use]
    pub fn customer_api(&self, method: &str, path: &str, body: Option<&str>) -> Curl {
        let auth = format!("Authorization: Bearer {}", self.key("customer key"));
        self.api(method, path, &[&auth], body)
    }

    /// Calls the admin API with the admin key.
    #[must_use]
    pub fn admin_api(&self, method: &str, path: &str, body: Option<&str>) -> Curl {
        let auth = format!("X-Admin-API-Key: {}", self.key("admin key"));
        self.api(method, path, &[&auth], body)
    }

    /// Calls an API with these headers.
    #[must_use]
    pub fn api(&self, method: &str, path: &str, headers: &[&str], body: Option<&str>) -> Curl {
        let url = format!("http://{}{path}", self.addr("api"));
        let mut args = vec!["-X", method, &url];
        for header in headers {
            args.extend(["-H", header]);
        }
        if let Some(body) = body {
            args.extend(["-H", "Content-Type: application/json", "--data-binary", body]);
        }
        curl(&args)
    }

    /// Changes the mood of the simulated provider.
    ///
    /// # Panics
    /// If it refuses.
    pub fn sandbox(&self, path: &str, body: &str) {
        let url = format!("http://{}/sandbox/{path}", self.addr("sandbox_api"));
        let auth = format!("Authorization: Bearer {}", self.secret("brd/management"));
        let answer = curl(&["-X", "POST", "-H", &auth, "--data-binary", body, &url]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What the simulated provider says of itself.
    #[must_use]
    pub fn sandbox_state(&self, path: &str) -> Value {
        let url = format!("http://{}/sandbox/{path}", self.addr("sandbox_api"));
        let auth = format!("Authorization: Bearer {}", self.secret("brd/management"));
        curl(&["-H", &auth, &url]).json()
    }

    /// All it has logged so far.
    ///
    /// # Panics
    /// If that cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("the log is text")
    }

    /// Sends a signal to it.
    ///
    /// # Panics
    /// If it cannot be signalled.
    pub fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill");
        assert!(kill.success());
    }

    /// Sends a signal to it, and waits for its end.
    #[must_use]
    pub fn end(self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it cannot be waited for.
    #[must_use]
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("our child")
    }
}

impl Drop for LocalRun {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of tollgate ---\n{}", self.log());
        }
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the command starts");
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What curl got.
#[derive(Debug)]
pub struct Curl {
    /// Status of the last answer; the one to CONNECT if there was no other.
    pub status: u16,
    /// All heads, in lower case.
    pub heads: String,
    /// The body of the last answer.
    pub body: String,
    /// curl's own exit code.
    pub code: Option<i32>,
}

impl Curl {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A header of any of the answers.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}:");
        self.heads.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::trim)
    }
}

/// Runs the real curl.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn curl(args: &[&str]) -> Curl {
    let body = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut command = Command::new("curl");
    command.args(["-q", "-sS", "--max-time", "30", "-D", "-", "-o"]).arg(body.path());
    command.args(["-w", "\n%{http_code} %{http_connect}"]).args(args);
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"] {
        command.env_remove(name);
    }
    let run = ended(&mut command);
    let (heads, codes) = run.out.rsplit_once('\n').expect("curl wrote its codes");
    let status = codes.split(' ').filter_map(|c| c.parse::<u16>().ok()).find(|c| *c != 0).unwrap_or(0);
    let mut text = String::new();
    // Nothing was written if nothing came.
    let _ = std::fs::File::open(body.path()).and_then(|mut f| f.read_to_string(&mut text));
    Curl { status, heads: heads.to_ascii_lowercase(), body: text, code: run.code }
}
