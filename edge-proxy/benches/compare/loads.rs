//! What is done to a proxy, and what is taken down of it.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Res;
use crate::args::Plan;
use crate::client::{Door, ping};
use crate::cloud::{SLOW, SLOW_RATE};
use crate::contenders::{Contender, Running, customer};
use crate::measure::{Cost, cost, resident_kib};
use crate::origin::What;
use crate::rows;

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Bytes to the client through so many tunnels.
    Down(u64),
    /// Bytes from the client through so many tunnels.
    Up(u64),
    /// New tunnels, so many at a time: open, a byte each way, close.
    Connect(usize),
    /// Absolute-form requests over so many kept connections, each answered with 100 bytes.
    Get(usize),
    /// So many tunnels that have exchanged a byte and are silent since.
    Idle(usize),
    /// Small exchanges in one tunnel beside four that are busy.
    Beside,
    /// Bytes to a customer of 100 Mbit/s.
    Limit,
    /// Small exchanges in one tunnel, with so many rows in the upstream file that stay, or change.
    Rows(usize),
}

/// One number of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    pub name: &'static str,
    pub value: f64,
}

const GIB: f64 = (1u64 << 30) as f64;
/// Tunnels that are opened at a time where it does not matter.
const AT_ONCE: usize = 16;
const BUSY_TUNNELS: usize = 4;
/// More than is ever moved.
const ENDLESS: u64 = 1 << 45;

impl Load {
    pub const ALL: [Self; 14] = [
        Self::Down(1),
        Self::Down(8),
        Self::Up(1),
        Self::Up(8),
        Self::Connect(1),
        Self::Connect(16),
        Self::Get(1),
        Self::Get(16),
        Self::Idle(1000),
        Self::Idle(4000),
        Self::Idle(9000),
        Self::Beside,
        Self::Limit,
        Self::Rows(10_000),
    ];
    /// What the check does.
    pub const CHECK: [Self; 8] = [
        Self::Down(2),
        Self::Up(2),
        Self::Connect(4),
        Self::Get(4),
        Self::Idle(50),
        Self::Beside,
        Self::Limit,
        Self::Rows(200),
    ];

    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Down(n) => format!("down-{n}"),
            Self::Up(n) => format!("up-{n}"),
            Self::Connect(n) => format!("connect-{n}"),
            Self::Get(n) => format!("get-{n}"),
            Self::Idle(n) => format!("idle-{n}"),
            Self::Beside => "beside".to_owned(),
            Self::Limit => "limit".to_owned(),
            Self::Rows(n) => format!("rows-{n}"),
        }
    }

    /// The load of a name: `down-3`, `idle-500` and so on.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Res<Self> {
        let found = match name.split_once('-') {
            None if name == "beside" => Some(Self::Beside),
            None if name == "limit" => Some(Self::Limit),
            Some((kind, n)) => n.parse::<usize>().ok().filter(|n| (1..=100_000).contains(n)).and_then(|n| match kind {
                "down" => Some(Self::Down(n as u64)),
                "up" => Some(Self::Up(n as u64)),
                "connect" => Some(Self::Connect(n)),
                "get" => Some(Self::Get(n)),
                "idle" => Some(Self::Idle(n)),
                "rows" => Some(Self::Rows(n)),
                _ => None,
            }),
            None => None,
        };
        let known = Self::ALL.map(Self::name).join(" ");
        found.ok_or_else(|| format!("no load or flag {name:?}; loads: {known}").into())
    }

    /// Whether a contender can be measured under it.
    #[must_use]
    pub fn suits(self, contender: Contender) -> bool {
        match self {
            Self::Get(_) => contender != Contender::HaproxyTcp,
            // Debian's HAProxy (2.6) has no bandwidth limit, the relays have no limits at all.
            Self::Limit => contender == Contender::Tollgate,
            // The others have no such file.
            Self::Rows(_) => contender == Contender::Tollgate,
            _ => true,
        }
    }

    /// Warms the proxy up, loads it, says what it cost.
    ///
    /// # Errors
    /// If the proxy fails, or the client got another byte count than it asked for.
    pub fn run(self, rt: &Runtime, proxy: &Running, plan: &Plan, count: bool) -> Res<Vec<Figure>> {
        let door = &proxy.door;
        let pid = proxy.process.pid;
        let load = |work: JoinSet<Res<()>>| cost(pid, count, || rt.block_on(all(work)));
        let _in_rt = rt.enter();
        match self {
            Self::Down(n) | Self::Up(n) => {
                let up = matches!(self, Self::Up(_));
                rt.block_on(all(bulk(door, up, n, plan.bulk / 8)))?;
                let (_, cost) = load(bulk(door, up, n, plan.bulk))?;
                Ok(per_gib(cost, plan.bulk / n * n))
            }
            Self::Connect(n) => {
                rt.block_on(all(connects(door, n, plan.ops / 10)))?;
                let (_, cost) = load(connects(door, n, plan.ops))?;
                Ok(per_op(cost, (plan.ops / n).max(1) * n))
            }
            Self::Get(n) => {
                rt.block_on(all(requests(door, n, plan.ops / 10)))?;
                let ops = plan.ops * 4;
                let (_, cost) = load(requests(door, n, ops))?;
                Ok(per_op(cost, (ops / n).max(1) * n))
            }
            Self::Idle(n) => {
                rt.block_on(tunnels(door, 1))?;
                let before = resident_kib(pid)?;
                let open = rt.block_on(tunnels(door, n))?;
                let grown = resident_kib(pid)?.saturating_sub(before);
                Ok(vec![Figure { name: "KiB resident/tunnel", value: grown as f64 / open.len() as f64 }])
            }
            Self::Beside => {
                let mut times = rt.block_on(beside(door.clone(), plan.ops))?;
                times.sort_unstable();
                let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
                let figure = |name, t: Duration| Figure { name, value: t.as_secs_f64() * 1e6 };
                Ok(vec![figure("p50 µs", at(50)), figure("p99 µs", at(99))])
            }
            Self::Limit => {
                let door = Door { authorization: customer(SLOW), ..door.clone() };
                // What may come at once is spent before.
                rt.block_on(door.down(SLOW_RATE / 10))?;
                let (_, cost) = load(bulk(&door, false, 1, plan.limited))?;
                let mut figures = per_gib(cost, plan.limited);
                let mbits = plan.limited as f64 * 8e-6 / cost.wall.as_secs_f64();
                figures.push(Figure { name: "Mbit/s (100 asked)", value: mbits });
                Ok(figures)
            }
            // A second each for a thousand operations of other loads.
            Self::Rows(n) => rows::run(rt, proxy, n, Duration::from_secs((plan.ops as u64 / 1000).max(1))),
        }
    }
}

fn per_gib(cost: Cost, bytes: u64) -> Vec<Figure> {
    let gib = bytes as f64 / GIB;
    let mut figures = vec![Figure { name: "CPU ms/GiB", value: cost.cpu_ns as f64 / 1e6 / gib }];
    figures.extend(cost.instructions.map(|n| Figure { name: "Minstr/GiB", value: n as f64 / 1e6 / gib }));
    figures.push(Figure { name: "GiB/s", value: gib / cost.wall.as_secs_f64() });
    figures.push(busy(cost));
    figures
}

fn per_op(cost: Cost, ops: usize) -> Vec<Figure> {
    let ops = ops as f64;
    let mut figures = vec![Figure { name: "CPU µs/op", value: cost.cpu_ns as f64 / 1e3 / ops }];
    figures.extend(cost.instructions.map(|n| Figure { name: "kinstr/op", value: n as f64 / 1e3 / ops }));
    figures.push(Figure { name: "op/s", value: ops / cost.wall.as_secs_f64() });
    figures.push(busy(cost));
    figures
}

/// How much of its processor the proxy used: near 100 it was what the load waited for.
fn busy(cost: Cost) -> Figure {
    Figure { name: "% of its core", value: cost.cpu_ns as f64 / 1e7 / cost.wall.as_secs_f64() }
}

async fn all(mut work: JoinSet<Res<()>>) -> Res<()> {
    while let Some(done) = work.join_next().await {
        done??;
    }
    Ok(())
}

/// Spawns on the runtime that was entered.
fn bulk(door: &Door, up: bool, n: u64, bytes: u64) -> JoinSet<Res<()>> {
    let mut work = JoinSet::new();
    for _ in 0..n {
        let (door, bytes) = (door.clone(), bytes / n);
        work.spawn(async move { if up { door.up(bytes).await } else { door.down(bytes).await } });
    }
    work
}

fn connects(door: &Door, n: usize, ops: usize) -> JoinSet<Res<()>> {
    let mut work = JoinSet::new();
    for _ in 0..n {
        let door = door.clone();
        work.spawn(async move {
            for _ in 0..(ops / n).max(1) {
                drop(door.greeted().await?);
            }
            Ok(())
        });
    }
    work
}

fn requests(door: &Door, n: usize, ops: usize) -> JoinSet<Res<()>> {
    let mut work = JoinSet::new();
    for _ in 0..n {
        let door = door.clone();
        work.spawn(async move { door.requests((ops / n).max(1)).await });
    }
    work
}

async fn tunnels(door: &Door, n: usize) -> Res<Vec<TcpStream>> {
    let (mut open, mut opening) = (Vec::with_capacity(n), JoinSet::new());
    for _ in 0..n {
        if opening.len() == AT_ONCE {
            open.extend(opening.join_next().await.transpose()?.transpose()?);
        }
        let door = door.clone();
        opening.spawn(async move { door.greeted().await });
    }
    while let Some(opened) = opening.join_next().await {
        open.push(opened??);
    }
    Ok(open)
}

/// Times of `n` small exchanges, made by a thread of their own, while other tunnels are busy.
async fn beside(door: Door, n: usize) -> Res<Vec<Duration>> {
    let mut busy = JoinSet::new();
    for _ in 0..BUSY_TUNNELS {
        let (stream, _) = door.open(What::Down(ENDLESS)).await?;
        busy.spawn(async move { crate::origin::discard(&stream, ENDLESS).await });
    }
    let (done, times) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let _ = done.send(exchanges(&door, n));
    });
    let times = tokio::select! {
        times = times => times??,
        _ = busy.join_next() => return Err("a busy tunnel ended".into()),
    };
    let _ = thread.join();
    Ok(times)
}

fn exchanges(door: &Door, n: usize) -> Res<Vec<Duration>> {
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    rt.block_on(timed(door, n))
}

async fn timed(door: &Door, n: usize) -> Res<Vec<Duration>> {
    let mut stream = door.greeted().await?;
    let mut times = Vec::with_capacity(n);
    for _ in 0..n {
        let began = Instant::now();
        ping(&mut stream).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}
