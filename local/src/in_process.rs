//! The platform's ports in one process: what Lambda, EventBridge and queues do on AWS.

use std::sync::{Arc, Weak};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tollgate_domain::assignment::{AssignReply, AssignRequest};
use tollgate_edge::{Assigner, AssignerError};
use tollgate_functions::platform::{Deferred, Event, Events, Later, Platform};
use tollgate_functions::{assign, reconcile};

use crate::clock::JumpClock;

/// Events go to the log.
#[derive(Debug)]
pub struct LoggedEvents;

impl Events for LoggedEvents {
    fn emit(&self, event: Event) -> BoxFuture<'_, ()> {
        tracing::info!(event.kind = %event.kind, event.at = %event.at, detail = %event.detail, "event");
        async {}.boxed()
    }
}

/// Deferred work becomes a task, at its time.
pub struct Tasks {
    platform: Weak<Platform>,
    clock: Arc<JumpClock>,
    runtime: Handle,
}

impl Tasks {
    /// Work on `platform`, which may not be whole yet, on this runtime.
    #[must_use]
    pub fn new(platform: Weak<Platform>, clock: Arc<JumpClock>) -> Self {
        Self { platform, clock, runtime: Handle::current() }
    }
}

impl Later for Tasks {
    fn start(&self, work: Deferred) -> BoxFuture<'_, ()> {
        let (platform, clock) = (Weak::clone(&self.platform), Arc::clone(&self.clock));
        self.runtime.spawn(async move {
            if let Deferred::Reconcile { not_before, .. } = &work {
                clock.wait_until(*not_before).await;
            }
            // A process that ends leaves the rest to the schedules of the next one.
            let Some(platform) = platform.upgrade() else { return };
            run(&platform, work).await;
        });
        async {}.boxed()
    }
}

async fn run(platform: &Platform, work: Deferred) {
    match work {
        Deferred::Reconcile { provider, .. } => {
            if let Err(e) = reconcile::reconcile(platform, &provider).await {
                tracing::warn!(%provider, error = %e, "deferred reconcile failed");
            }
        }
        Deferred::Assign { request } => {
            let line = request.line.clone();
            if let AssignReply::Refused { refusal } = assign::assign(platform, request).await {
                tracing::info!(%line, code = %refusal.code, "deferred assign was refused");
            }
        }
    }
}

/// The edge's question, answered by the same story that a Lambda function runs.
pub struct AssignHere {
    platform: Arc<Platform>,
    runtime: Handle,
}

impl AssignHere {
    /// Answers on this runtime: connections to providers must not belong to the edge's threads.
    #[must_use]
    pub fn new(platform: Arc<Platform>) -> Self {
        Self { platform, runtime: Handle::current() }
    }
}

impl Assigner for AssignHere {
    fn assign(&self, req: AssignRequest) -> tollgate_edge::BoxFuture<'_, Result<AssignReply, AssignerError>> {
        let platform = Arc::clone(&self.platform);
        let task = self.runtime.spawn(async move { assign::assign(&platform, req).await });
        Box::pin(async move { task.await.map_err(|e| AssignerError(e.to_string())) })
    }
}
