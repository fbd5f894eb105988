//! The processes of a run: this binary in another role, or another program. They end with their
//! owner.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Res;
use crate::cores::{Cores, Place};
use crate::{cloud, contenders, upstream};

/// Time for a program to begin, or to end once it is told to.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(5);

/// Plays a role until the process that started this one is gone.
///
/// # Errors
/// If the role cannot be played.
pub fn play(role: &str, rest: &[&str]) -> Res<()> {
    std::thread::spawn(|| {
        // Standard input is a pipe from the owner: its end is the owner's.
        let _ = std::io::stdin().lines().next();
        std::process::exit(0);
    });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let target = || rest.first().ok_or("which upstream?")?.parse::<SocketAddr>().map_err(|e| e.to_string());
    match role {
        "upstream" => upstream::serve(listener),
        "cloud" => cloud::serve(listener, target()?),
        "splice" => contenders::splice::serve(listener, target()?),
        "copy" => contenders::copy::serve(listener, target()?),
        other => Err(format!("no role {other}").into()),
    }
}

/// Tells the owner where a role is served.
pub fn ready(addresses: &[SocketAddr]) {
    let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    println!("{}", words.join(" "));
}

/// A running process; ended when dropped.
pub struct Process {
    child: Child,
    pub pid: Pid,
}

impl Process {
    fn new(child: Child) -> Res<Self> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a process without an id")?;
        Ok(Self { child, pid })
    }

    /// Starts this binary in a role; where it is served.
    ///
    /// # Errors
    /// If it does not begin.
    pub fn role(cores: &Cores, place: Place, role: &str, rest: &[String]) -> Res<(Self, Vec<SocketAddr>)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--role").arg(role).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = cores.spawn(place, &mut command)?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let process = Self::new(child)?;
        let addresses = line.split_whitespace().map(str::parse::<SocketAddr>).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(format!("the {role} did not begin").into());
        }
        Ok((process, addresses))
    }

    /// Starts a program that will listen on `at`.
    ///
    /// # Errors
    /// If it does not begin to listen.
    pub fn program(cores: &Cores, command: &mut Command, at: SocketAddr) -> Res<Self> {
        let mut process = Self::new(cores.spawn(Place::Proxy, command)?)?;
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(at).is_err() {
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{command:?} ended with {status}").into());
            }
            if Instant::now() > end {
                return Err(format!("{command:?} does not listen").into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(process)
    }

    /// Tells it to end, and waits; kills it in the end.
    fn stop(&mut self) {
        // Once it has been waited for, its id may be another's.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = kill_process(self.pid, Signal::TERM);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address on loopback where nobody listened a moment ago.
///
/// # Errors
/// If there is none.
pub fn free_address() -> Res<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
