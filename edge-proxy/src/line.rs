//! A line in use here: the proxy that serves it, and what the store is told of its use.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tollgate_domain::id::LineKey;

use crate::core::Core;
use crate::retry::Backoff;
use crate::route::Route;

/// See the module.
pub(crate) struct LineUse {
    pub key: LineKey,
    route: Mutex<Option<Arc<Route>>>,
    /// One question to the assigner at a time.
    pub flight: tokio::sync::Mutex<()>,
    users: AtomicU32,
    changed: Notify,
    kept: AtomicBool,
}

impl LineUse {
    pub fn new(key: LineKey) -> Self {
        Self {
            key,
            route: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
            users: AtomicU32::new(0),
            changed: Notify::new(),
            kept: AtomicBool::new(false),
        }
    }

    pub fn route(&self) -> Option<Arc<Route>> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_route(&self, route: Option<Arc<Route>>) {
        *self.route.lock().unwrap_or_else(PoisonError::into_inner) = route;
    }

    /// Forgets the route, if it is still this one.
    pub fn drop_route(&self, stale: &Arc<Route>) {
        let mut route = self.route.lock().unwrap_or_else(PoisonError::into_inner);
        if route.as_ref().is_some_and(|r| Arc::ptr_eq(r, stale)) {
            *route = None;
        }
    }

    pub fn users(&self) -> u32 {
        self.users.load(Ordering::Acquire)
    }

    /// Stops lingering: what is to be said is said now.
    pub fn hurry(&self) {
        self.changed.notify_one();
    }

    /// Whether the store has yet to hear that the line is quiet.
    pub fn kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }
}

/// Counts a tunnel on the line while this lives; the store hears of the first and of the last.
pub(crate) struct Using(Arc<LineUse>);

impl Using {
    pub fn new(core: &Arc<Core>, line: &Arc<LineUse>) -> Self {
        line.users.fetch_add(1, Ordering::AcqRel);
        line.changed.notify_one();
        if !line.kept.swap(true, Ordering::AcqRel) {
            core.control.spawn(keep(Arc::clone(core), Arc::clone(line)));
        }
        Self(Arc::clone(line))
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// Tells the store that the line is used, and, once it has not been for the linger time, that it
/// is quiet. One task per line in use, so that the two never cross.
async fn keep(core: Arc<Core>, line: Arc<LineUse>) {
    loop {
        tell(&core, &line, true).await;
        while line.users() > 0 || !quiet_for(&core, &line, core.config.linger).await {
            if line.users() > 0 {
                line.changed.notified().await;
            }
        }
        tell(&core, &line, false).await;
        line.kept.store(false, Ordering::Release);
        // A tunnel that came meanwhile saw `kept` and made no keeper of its own.
        if line.users() == 0 || line.kept.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}

/// Whether nobody used the line for `linger`.
async fn quiet_for(core: &Core, line: &LineUse, linger: Duration) -> bool {
    let end = tokio::time::Instant::now() + linger;
    while line.users() == 0 && !core.draining() {
        let waited = tokio::time::timeout_at(end, line.changed.notified()).await;
        if waited.is_err() {
            break;
        }
    }
    line.users() == 0
}

async fn tell(core: &Core, line: &LineUse, opened: bool) {
    let mut backoff = Backoff::default();
    loop {
        let now = core.clock.now();
        let told = if opened {
            core.store.line_opened(&line.key, &core.session, now).await
        } else {
            core.store.line_quiet(&line.key, &core.session, now).await
        };
        match told {
            Ok(_) => return,
            Err(e) => {
                core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(line = %line.key, opened, error = %e, "line mark failed");
                backoff.pause().await;
            }
        }
    }
}
