//! What happens to a running edge besides draining: settings change, and a successor takes over.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Edge;
use super::drain::until;
use crate::access_log::AccessLog;
use crate::config::{LiveConfig, Settings};
use crate::elders;
use crate::ingress::entrance::Kind;
use crate::takeover::{ListenerKind, NamedListener};

/// Called with the settings that a reload puts in force, and on every reload, for files that are
/// read again (a certificate, the port map).
pub type ReloadHook = Box<dyn Fn(&LiveConfig) + Send + Sync>;

impl Edge {
    /// Calls `hook` on every reload.
    pub fn on_reload(&mut self, hook: ReloadHook) {
        self.on_reload.push(hook);
    }

    /// Puts the reloadable part of `settings` in force.
    pub fn reload(&self, settings: &Settings) {
        let next = settings.reloadable();
        self.core.access_log.reconfigure(next.access_log.clone());
        if let Some(identity) = &self.core.identity {
            // What is wrong with new files is in the log; the old ones stay in use.
            let _ = identity.reload();
        }
        let core = Arc::clone(&self.core);
        self.control.handle.spawn_blocking(move || match core.upstreams.reload(std::time::Instant::now()) {
            Ok(report) => tracing::info!(?report, "upstreams read again"),
            Err(e) => tracing::error!(error = %e, "upstreams not read again: those in use stay"),
        });
        for hook in &self.on_reload {
            hook(&next);
        }
        self.core.live.set(next);
        self.core.metrics.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a reload whose settings were refused: the old ones stay in force.
    pub fn reload_refused(&self) {
        self.core.metrics.reloads_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives the sockets that customers connect to, each anew, for who takes them over.
    pub fn doors(&self) -> impl Fn() -> io::Result<Vec<NamedListener>> + Send + Sync + 'static {
        let listeners = Arc::clone(&self.core.listeners);
        move || {
            let open = listeners.named();
            let named = open.iter().map(|l| {
                let kind = match l.entrance.kind {
                    Kind::Gateway => ListenerKind::Gateway,
                    Kind::Tls => ListenerKind::Tls,
                    Kind::Port(_) => ListenerKind::Port,
                };
                NamedListener::new(kind, l.socket.try_clone()?)
            });
            named.collect()
        }
    }

    /// One record per connection: to reopen or rotate its file.
    #[must_use]
    pub fn access_log(&self) -> &AccessLog {
        &self.core.access_log
    }

    /// Begins to end beside a successor that accepts on the same sockets: accepts no more, and
    /// serves what was accepted.
    pub fn leave(&mut self) {
        self.crew.stop_accepting();
        if let Some(task) = self.admin_task.take() {
            task.abort();
        }
        self.core.start_leaving();
        self.control.handle.spawn(elders::withdraw(Arc::clone(&self.core)));
        tracing::info!(session = %self.core.session, "a successor serves; this life ends with its tunnels");
    }

    /// Waits until no connection is left, or `patience` is over.
    pub async fn quiet(&self, patience: Duration) {
        let open = || self.core.metrics.open_connections.load(Ordering::Relaxed);
        until(Instant::now() + patience, || open() == 0).await;
    }
}
