//! What all parts of one edge share.

use std::sync::Arc;

use secrecy::SecretString;
use tokio::sync::watch;
use tollgate_domain::id::EdgeSession;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Clock;
use tollgate_store::{Store, StoreError};

use crate::config::EdgeConfig;
use crate::deps::{Assigner, GatewaySecrets};
use crate::directory::Directory;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::throttle::Throttle;

/// Shared by workers and the control thread.
pub(crate) struct Core {
    pub config: EdgeConfig,
    pub session: EdgeSession,
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub assigner: Arc<dyn Assigner>,
    pub secrets: Arc<dyn GatewaySecrets>,
    pub pepper: SecretString,
    pub journal: Journal,
    pub directory: Directory,
    pub throttle: Throttle,
    pub metrics: Metrics,
    /// Where everything that talks to the store runs.
    pub control: tokio::runtime::Handle,
    draining: watch::Sender<bool>,
}

/// Hears when the edge begins to shut down.
pub(crate) struct DrainSignal(watch::Receiver<bool>);

impl DrainSignal {
    /// Waits for it.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|begun| *begun).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Core {
    pub fn new(
        config: EdgeConfig,
        session: EdgeSession,
        deps: crate::deps::EdgeDeps,
        journal: Journal,
        control: tokio::runtime::Handle,
    ) -> Self {
        let throttle = Throttle::new(config.auth_failures, config.auth_window, config.auth_block);
        Self {
            directory: Directory::new(config.unknown_ttl),
            throttle,
            metrics: Metrics::new(config.workers),
            session,
            store: deps.store,
            clock: deps.clock,
            assigner: deps.assigner,
            secrets: deps.secrets,
            pepper: deps.pepper,
            journal,
            control,
            draining: watch::Sender::new(false),
            config,
        }
    }

    pub fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    pub fn start_draining(&self) {
        self.draining.send_replace(true);
    }

    pub fn drain_signal(&self) -> DrainSignal {
        DrainSignal(self.draining.subscribe())
    }

    /// Runs `future` on the control thread and waits for it.
    pub async fn on_control<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        match self.control.spawn(future).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::new(Code::EdgeDraining, "the edge is shutting down")),
        }
    }
}

/// A store that failed, as customers hear of it. The cause goes to the log, not to them.
pub(crate) fn store_refusal(e: &StoreError) -> Refusal {
    tracing::warn!(error = %e, "store call failed");
    Refusal::new(Code::StoreUnavailable, "the store did not answer")
}
