//! Several edges, each a process of its own: started, watched, started again when they die, ended.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tollgate_domain::id::EdgeId;

use crate::args::Ports;
use crate::edge_process::{Place, Shared, command};
use crate::failure::Failure;
use crate::listen::{listen, local_addr};
use crate::run_file::RunFile;
use crate::seed::fixed;

/// An edge answers within this time of its first start.
const STARTING: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile, and how long each answer may take.
const LOOK: Duration = Duration::from_millis(50);
const ANSWER: Duration = Duration::from_secs(1);
/// Wait before an edge that died is started again; doubled with each death, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// An edge that ran for so long has recovered: the next wait is the first again.
const STEADY: Duration = Duration::from_secs(60);
/// An edge that was told to end has ended after this, its own patience included.
const ENDING: Duration = Duration::from_secs(45);

/// Addresses for edges, held against other programs until the edges take them.
pub struct Reserved {
    /// Where each will listen.
    pub places: Vec<Place>,
    held: Vec<TcpListener>,
}

/// Finds addresses for `count` edges: the ports of the first, and those that follow; any free ones
/// where the first may have any.
///
/// # Errors
/// A port that is taken, or beyond the last there is.
pub fn reserve(ports: &Ports, count: u8) -> Result<Reserved, Failure> {
    let mut reserved = Reserved { places: Vec::new(), held: Vec::new() };
    for n in 0..count {
        let gateway = listen(nth(ports.gateway, n)?, "--gateway")?;
        let admin = listen(nth(ports.edge_admin, n)?, "--edge-admin")?;
        let id = fixed(EdgeId::new(format!("edge{}", u16::from(n) + 1)));
        reserved.places.push(Place { id, gateway: local_addr(&gateway)?, admin: local_addr(&admin)? });
        reserved.held.extend([gateway, admin]);
    }
    Ok(reserved)
}

fn nth(first: SocketAddr, n: u8) -> Result<SocketAddr, Failure> {
    if first.port() == 0 {
        return Ok(first);
    }
    let port = first.port().checked_add(u16::from(n));
    let none = || Failure::part("--edges", format!("there are not so many ports from {first} on"));
    Ok(SocketAddr::new(first.ip(), port.ok_or_else(none)?))
}

/// Running edges. Dropped without [`Fleet::stop`], their processes are killed.
pub struct Fleet {
    stop: watch::Sender<bool>,
    keepers: JoinSet<(EdgeId, bool)>,
}

impl Fleet {
    /// Starts the edges; when this returns, all of them serve.
    ///
    /// # Errors
    /// An edge that does not serve; then none is left.
    pub async fn start(reserved: Reserved, shared: Shared, run_file: Arc<RunFile>) -> Result<Self, Failure> {
        let shared = Arc::new(shared);
        let keeper = |place| Keeper { place, shared: Arc::clone(&shared), run_file: Arc::clone(&run_file) };
        let keepers: Vec<_> = reserved.places.into_iter().map(keeper).collect();
        drop(reserved.held);
        let mut started = Vec::new();
        for keeper in keepers {
            let running = keeper.spawn().map_err(|e| Failure::part("an edge", e))?;
            started.push((keeper, running));
        }
        for (keeper, running) in &mut started {
            keeper.serves(running).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let mut fleet = Self { stop, keepers: JoinSet::new() };
        for (keeper, running) in started {
            fleet.keepers.spawn(keeper.keep(running, stopped.clone()));
        }
        Ok(fleet)
    }

    /// Drains all edges, so that every byte is settled, and waits for their ends.
    ///
    /// # Errors
    /// Edges that left something for the next start.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.stop.send_replace(true);
        let mut unsettled = Vec::new();
        while let Some(ended) = self.keepers.join_next().await {
            match ended {
                Ok((_, true)) => {}
                Ok((edge, false)) => unsettled.push(edge.to_string()),
                Err(e) => return Err(Failure::part("the edges", e)),
            }
        }
        if unsettled.is_empty() {
            return Ok(());
        }
        unsettled.sort_unstable();
        Err(Failure::part("the edges", format!("{} left something for the next start", unsettled.join(", "))))
    }
}

/// Keeps one edge running.
struct Keeper {
    place: Place,
    shared: Arc<Shared>,
    run_file: Arc<RunFile>,
}

/// A process, and the pipe by which it knows that we live.
struct Running {
    child: Child,
    _lifeline: Option<ChildStdin>,
}

impl Keeper {
    fn spawn(&self) -> std::io::Result<Running> {
        let mut child = command(&self.place, &self.shared)?.spawn()?;
        // Whoever waits for a child closes its standard input first: it is held apart.
        let lifeline = child.stdin.take();
        let pid = child.id();
        tracing::info!(edge = %self.place.id, pid, gateway = %self.place.gateway, "an edge was started");
        self.run_file.started(&self.place.id, pid);
        Ok(Running { child, _lifeline: lifeline })
    }

    /// Waits until it serves.
    async fn serves(&self, running: &mut Running) -> Result<(), Failure> {
        let end = Instant::now() + STARTING;
        loop {
            let id = &self.place.id;
            if let Ok(Some(status)) = running.child.try_wait() {
                return Err(Failure::part("an edge", format!("{id} ended ({status}) before it served: see its log")));
            }
            if ready(self.place.admin).await {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Failure::part("an edge", format!("{id} does not serve after {} s", STARTING.as_secs())));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts it again whenever it ends, until told to stop. Returns whether it left nothing behind.
    async fn keep(self, mut running: Running, mut stop: watch::Receiver<bool>) -> (EdgeId, bool) {
        let mut wait = FIRST;
        loop {
            let began = Instant::now();
            let status = tokio::select! {
                status = running.child.wait() => status,
                () = stopped(&mut stop) => return (self.place.id, end(running).await),
            };
            let settled = status.as_ref().is_ok_and(ExitStatus::success);
            if began.elapsed() > STEADY {
                wait = FIRST;
            }
            self.report(status, wait);
            running = loop {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stopped(&mut stop) => return (self.place.id, settled),
                }
                wait = (wait * 2).min(LONGEST);
                match self.spawn() {
                    Ok(running) => break running,
                    Err(e) => tracing::error!(edge = %self.place.id, error = %e, "an edge cannot be started"),
                }
            };
        }
    }

    fn report(&self, status: std::io::Result<ExitStatus>, wait: Duration) {
        let how = status.map_or_else(|e| e.to_string(), |status| status.to_string());
        tracing::warn!(edge = %self.place.id, how, again_in_s = wait.as_secs(), "an edge ended and is started again");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Nobody is left to tell: that is the end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Has it drain and end; whether it left nothing behind.
async fn end(mut running: Running) -> bool {
    let pid = running.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    match timeout(ENDING, running.child.wait()).await {
        Ok(status) => status.is_ok_and(|status| status.success()),
        Err(_) => {
            let _ = running.child.kill().await;
            false
        }
    }
}

/// Whether the edge with this admin listener says that it is ready.
async fn ready(admin: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(admin).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    matches!(timeout(ANSWER, ask).await, Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(gateway: &str) -> Ports {
        let any = "127.0.0.1:0".parse().unwrap();
        let gateway = gateway.parse().unwrap();
        Ports { gateway, api: any, edge_admin: any, sandbox_api: any, sandbox_gateway: any }
    }

    #[test]
    fn edges_get_names_and_addresses_of_their_own() {
        let reserved = reserve(&ports("127.0.0.1:0"), 3).unwrap();
        let names: Vec<_> = reserved.places.iter().map(|p| p.id.to_string()).collect();
        assert_eq!(names, ["edge1", "edge2", "edge3"]);
        let mut taken: Vec<_> = reserved.places.iter().flat_map(|p| [p.gateway.port(), p.admin.port()]).collect();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), 6);
        // They are held: the next who asks is told which flag moves it.
        let again = reserve(&ports(&reserved.places[0].gateway.to_string()), 1).err().unwrap().to_string();
        assert!(again.contains("--gateway"), "{again}");
    }

    #[test]
    fn ports_follow_the_first_and_end_with_the_last_there_is() {
        let first = "127.0.0.1:3128".parse().unwrap();
        assert_eq!(nth(first, 2).unwrap().port(), 3130);
        let last = "127.0.0.1:65535".parse().unwrap();
        assert_eq!(nth(last, 0).unwrap().port(), 65_535);
        assert!(nth(last, 1).unwrap_err().to_string().contains("--edges"));
    }
}
