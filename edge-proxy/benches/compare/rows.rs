//! A long upstream file, and what its changes do to a tunnel beside them.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use crate::Res;
use crate::client::{Door, ping};
use crate::contenders::Running;
use crate::loads::Figure;
use crate::measure::resident_kib;

/// Rows that change each second.
const CHANGES: usize = 100;
/// Time for a reload to be seen.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);
/// The first port, and how many there are at most.
const FIRST: u16 = 4000;
const PORTS: u16 = 1000;
/// The account that passes at the upstream, as `upstream::AUTHORIZATION` has it.
const ACCOUNT: &str = "brd-customer-c_1-zone-isp-ip-203.0.113.7";
const PASSWORD: &str = "zone-password";

/// The edge's file of upstreams.
pub struct Rows {
    pub file: PathBuf,
    /// Where its ports listen: an address of the loopback network that no other run has.
    pub bind: IpAddr,
    upstream: SocketAddr,
}

impl Rows {
    /// An empty file in `folder`; its rows will lead to `upstream`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(folder: &Path, upstream: SocketAddr) -> Res<Self> {
        let file = folder.join("proxy.txt");
        fs::write(&file, "")?;
        let [.., a, b] = std::process::id().to_be_bytes();
        Ok(Self { file, bind: IpAddr::from([127, 96 | (a & 31), b, 1]), upstream })
    }

    /// Writes `n` rows; a hundredth of them, or a hundred, have a password of this round. The
    /// first one passes at the upstream only if it is `good`.
    fn write(&self, n: usize, round: usize, good: bool) -> Res<()> {
        let step = (n / CHANGES).max(1);
        let row = |i: usize| match i {
            0 if good => format!("{ACCOUNT}:{PASSWORD}@{}\n", self.upstream),
            0 => format!("{ACCOUNT}:p{round}@{}\n", self.upstream),
            _ => format!("u{i}:p{}@{}\n", if i.is_multiple_of(step) { round } else { 0 }, self.upstream),
        };
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, (0..n).map(row).collect::<String>())?;
        Ok(fs::rename(fresh, &self.file)?)
    }
}

/// Measures small exchanges in a tunnel over the gateway: with `n` rows that stay, then while a hundred of
/// them change each second; and what the rows take up.
///
/// # Errors
/// If an exchange fails, or the changes do not come into force.
pub fn run(rt: &Runtime, proxy: &Running, n: usize, time: Duration) -> Res<Vec<Figure>> {
    let rows = proxy.rows.as_ref().ok_or("a proxy without an upstream file")?;
    let pid = proxy.process.pid;
    drop(rt.block_on(proxy.door.greeted())?);
    let before = resident_kib(pid)?;
    rows.write(n, 0, false)?;
    reload(pid)?;
    let ports = u16::try_from(n).unwrap_or(PORTS).min(PORTS);
    let last = SocketAddr::new(rows.bind, FIRST + ports - 1);
    until("the last port listens", || TcpStream::connect(last).is_ok())?;
    let grown = resident_kib(pid)?.saturating_sub(before);
    let still = exchanges(&proxy.door, time)?;
    let done = AtomicBool::new(false);
    let (changing, rounds) = std::thread::scope(|scope| -> Res<(Vec<Duration>, usize)> {
        let changer = scope.spawn(|| change(rows, pid, n, &done));
        let times = exchanges(&proxy.door, time);
        done.store(true, Ordering::Release);
        let rounds = changer.join().map_err(|_| "a thread panicked")??;
        Ok((times?, rounds))
    })?;
    // The last change opens the first row: all of them came through.
    rows.write(n, rounds + 1, true)?;
    reload(pid)?;
    let door = Door { at: SocketAddr::new(rows.bind, FIRST), authorization: proxy.door.authorization.clone() };
    until("the last change holds", || rt.block_on(door.greeted()).is_ok())?;
    let figure = |name, value| Figure { name, value };
    Ok(vec![
        figure("KiB resident, rows", grown as f64),
        figure("p50 µs, still", micros(&still, 50)),
        figure("p99 µs, still", micros(&still, 99)),
        figure("p50 µs, changing", micros(&changing, 50)),
        figure("p99 µs, changing", micros(&changing, 99)),
        figure("reloads", rounds as f64),
    ])
}

/// Changes rows each second until all is done; how often.
fn change(rows: &Rows, pid: Pid, n: usize, done: &AtomicBool) -> Res<usize> {
    let mut round = 0;
    while !done.load(Ordering::Acquire) {
        round += 1;
        rows.write(n, round, false)?;
        reload(pid)?;
        let next = Instant::now() + Duration::from_secs(1);
        while !done.load(Ordering::Acquire) && Instant::now() < next {
            std::thread::sleep(LOOK);
        }
    }
    Ok(round)
}

fn reload(pid: Pid) -> Res<()> {
    Ok(kill_process(pid, Signal::HUP)?)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) -> Res<()> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            return Err(format!("never happened: {what}").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Times of small exchanges in one tunnel, shortest first.
fn exchanges(door: &Door, time: Duration) -> Res<Vec<Duration>> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(async {
        let mut stream = door.greeted().await?;
        let end = Instant::now() + time;
        let mut times = Vec::new();
        while Instant::now() < end {
            let began = Instant::now();
            ping(&mut stream).await?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        Ok(times)
    })
}

fn micros(sorted: &[Duration], part: usize) -> f64 {
    sorted.get(sorted.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e6
}
