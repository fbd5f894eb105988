//! One edge as a process: start, signals, hand-over, end.

use std::process::Command;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{Args, listening};
use crate::config::Settings;
use crate::notify::Notify;
use crate::takeover::{self, ListenerKind, NamedListener, Offer, Taken};
use crate::{Edge, aws};

type Failure = Box<dyn std::error::Error>;

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    reopen: Signal,
    succeed: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            succeed: signal(SignalKind::user_defined2())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

enum Event {
    Stop,
    Reload,
    Reopen,
    Succeed,
    Taken(Taken),
    Watchdog,
}

/// Serves until told to stop, or until a successor has taken over and the tunnels have ended.
pub(super) async fn run(args: &Args, settings: Settings) -> Result<(), Failure> {
    // First: a signal during the start must not have the system's own meaning.
    let mut signals = Signals::new()?;
    let notify = Notify::new(|key| std::env::var_os(key));
    let socket = settings.edge.takeover_socket();
    let mut received = takeover::receive(&socket, &settings.edge.edge)?;
    if args.takeover && received.is_none() {
        return Err(format!("no edge answers at {} to take over from", socket.display()).into());
    }
    let listeners = listening::listeners(&settings, &mut received)?;
    let deps = aws::deps(&settings).await?;
    let edge = Edge::start_on(settings.edge.clone(), deps, clones(&listeners)?).await?;
    if let Some(received) = received {
        // An edge that is gone meanwhile has nothing to say, and the sockets are ours.
        if let Err(e) = tokio::task::spawn_blocking(move || received.serving()).await? {
            tracing::warn!(error = %e, "the old edge does not say that it drains");
        }
    }
    let (doors, admin) = (edge.doors(), admin(&listeners)?);
    let offered = move || Ok(doors()?.into_iter().chain([admin.try_clone()?]).collect());
    let offer = Offer::start(&socket, settings.edge.edge.clone(), Box::new(offered));
    let (offer, taken) = match offer {
        Ok((offer, taken)) => (Some(offer), Some(taken)),
        Err(e) => {
            tracing::error!(error = %e, path = %socket.display(), "no successor can take over: the socket cannot be made");
            (None, None)
        }
    };
    // From here on the offer alone holds descriptors beside the edge's own.
    drop(listeners);
    notify.ready();
    Process { args, edge, notify, drain: settings.drain, started: settings, offer, taken }.run(&mut signals).await
}

fn admin(listeners: &[NamedListener]) -> std::io::Result<NamedListener> {
    let admin = listeners.iter().find(|l| l.name.kind == ListenerKind::Admin);
    admin.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?.try_clone()
}

fn clones(listeners: &[NamedListener]) -> std::io::Result<Vec<NamedListener>> {
    listeners.iter().map(NamedListener::try_clone).collect()
}

struct Process<'a> {
    args: &'a Args,
    edge: Edge,
    notify: Notify,
    /// The settings of the start; what only a start reads is compared with them.
    started: Settings,
    drain: Duration,
    offer: Option<Offer>,
    taken: Option<oneshot::Receiver<Taken>>,
}

impl Process<'_> {
    async fn run(mut self, signals: &mut Signals) -> Result<(), Failure> {
        loop {
            match self.next(signals).await {
                Event::Stop => return self.stop().await,
                Event::Taken(taken) => return self.end_beside(taken, signals).await,
                Event::Reload => self.reload(),
                Event::Reopen => self.edge.access_log().reopen(),
                Event::Succeed => self.start_successor(),
                Event::Watchdog => self.notify.alive(),
            }
        }
    }

    async fn next(&mut self, signals: &mut Signals) -> Event {
        let watchdog = self.notify.watchdog_interval();
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Event::Stop,
                _ = signals.interrupt.recv() => return Event::Stop,
                _ = signals.reload.recv() => return Event::Reload,
                _ = signals.reopen.recv() => return Event::Reopen,
                _ = signals.succeed.recv() => return Event::Succeed,
                () = tokio::time::sleep(watchdog.unwrap_or_default()), if watchdog.is_some() => return Event::Watchdog,
                taken = async { Some(self.taken.as_mut()?.await) }, if self.taken.is_some() => {
                    self.taken = None;
                    if let Some(Ok(taken)) = taken {
                        return Event::Taken(taken);
                    }
                }
            }
        }
    }

    /// No new connection is waited for any more, by nobody: the offer's descriptors go first.
    async fn stop(mut self) -> Result<(), Failure> {
        self.notify.stopping();
        self.offer.take();
        self.edge.drain(self.drain).await?;
        Ok(())
    }

    /// A successor serves.
    async fn end_beside(mut self, taken: Taken, signals: &mut Signals) -> Result<(), Failure> {
        self.edge.leave();
        if let Some(pid) = taken.pid() {
            self.notify.succeeded_by(pid);
        }
        if let Err(e) = taken.draining() {
            tracing::warn!(error = %e, "the successor is gone");
        }
        self.offer.take();
        let rest = tokio::select! {
            () = self.edge.quiet(self.drain) => Duration::ZERO,
            () = signals.stop() => self.drain,
        };
        self.edge.drain(rest).await?;
        Ok(())
    }

    /// Reads the file again. The environment of a running process does not change.
    fn reload(&mut self) {
        self.notify.reloading();
        match self.args.settings() {
            Ok(settings) => {
                for key in settings.fixed_changes(&self.started) {
                    tracing::warn!(key, "the change waits for the next start");
                }
                self.drain = settings.drain;
                self.edge.reload(&settings);
                tracing::info!("settings read again");
            }
            Err(problems) => {
                for problem in problems.0 {
                    tracing::error!(%problem, "bad configuration; the old one stays in force");
                }
                self.edge.reload_refused();
            }
        }
        self.notify.ready();
    }

    /// Starts this program again, by the name it was started with: a new binary lies there. Its
    /// failure changes nothing here.
    fn start_successor(&self) {
        let mut words = std::env::args_os();
        let Some(program) = words.next() else { return };
        let started = Command::new(program).args(words.filter(|w| w != "--takeover")).arg("--takeover").spawn();
        match started {
            Ok(mut child) => {
                tracing::info!(pid = child.id(), "started a successor");
                // It outlives this process, or its end is told.
                std::thread::spawn(move || match child.wait() {
                    Ok(status) => tracing::warn!(%status, "the successor ended"),
                    Err(e) => tracing::warn!(error = %e, "the successor cannot be waited for"),
                });
            }
            Err(e) => tracing::error!(error = %e, "a successor cannot be started"),
        }
    }
}
