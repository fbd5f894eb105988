//! What a process has used: processor time, instructions, memory.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Res;

/// What some work cost the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Nanoseconds of processor time, of all threads, the kernel's part included.
    pub cpu_ns: u64,
    /// Instructions, the kernel's included; none where the machine does not count them.
    pub instructions: Option<u64>,
    pub wall: Duration,
}

/// Runs `work` and takes what it cost `pid`.
///
/// # Errors
/// If the work fails, or the process is gone.
pub fn cost<T>(pid: Pid, count: bool, work: impl FnOnce() -> Res<T>) -> Res<(T, Cost)> {
    let counter = count.then(|| Counter::start(pid)).transpose()?;
    let (before, began) = (cpu_ns(pid)?, Instant::now());
    let out = work()?;
    let (wall, after) = (began.elapsed(), cpu_ns(pid)?);
    let instructions = counter.map(Counter::stop).transpose()?.flatten();
    Ok((out, Cost { cpu_ns: after.saturating_sub(before), instructions, wall }))
}

/// Processor time of all threads.
fn cpu_ns(pid: Pid) -> Res<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    // A kernel without scheduler statistics: ticks of a hundredth of a second.
    if sum == 0 { ticks_ns(pid) } else { Ok(sum) }
}

fn ticks_ns(pid: Pid) -> Res<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = text.rsplit_once(')').ok_or("an unreadable stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |n: usize| fields.get(n).copied().unwrap_or_default().parse::<u64>();
    Ok((field(11)? + field(12)?) * 1_000_000_000 / rustix::param::clock_ticks_per_second())
}

/// Resident memory, KiB. What the kernel holds for sockets and pipes is not in it.
///
/// # Errors
/// If the process is gone.
pub fn resident_kib(pid: Pid) -> Res<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Whether this machine counts instructions.
#[must_use]
pub fn counts_instructions() -> bool {
    let probe = Command::new("perf").args(["stat", "-x,", "-e", "instructions", "true"]).stdin(Stdio::null()).output();
    probe.is_ok_and(|out| out.status.success() && read_perf(&String::from_utf8_lossy(&out.stderr)).is_some())
}

/// `perf stat` on one process.
struct Counter(std::process::Child);

impl Counter {
    fn start(pid: Pid) -> Res<Self> {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", "instructions", "-p", &pid.to_string()]);
        let child = perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        // It does not say when it has attached.
        std::thread::sleep(Duration::from_millis(200));
        Ok(Self(child))
    }

    fn stop(self) -> Res<Option<u64>> {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT)?;
        }
        let out = self.0.wait_with_output()?;
        Ok(read_perf(&String::from_utf8_lossy(&out.stderr)))
    }
}

fn read_perf(text: &str) -> Option<u64> {
    text.lines().find(|l| l.contains("instructions"))?.split(',').next()?.parse().ok()
}
