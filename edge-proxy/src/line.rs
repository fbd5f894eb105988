//! A line in use here: the proxy that serves it, and what the store is told of its use.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tollgate_domain::id::LineKey;

use crate::core::Core;
use crate::retry::Backoff;
use crate::route::Route;

/// Who keeps a line in use looks no more often.
const LOOK: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct LineUse {
    pub key: LineKey,
    route: Mutex<Option<Arc<Route>>>,
    /// One question to the assigner at a time.
    pub flight: tokio::sync::Mutex<()>,
    users: AtomicU32,
    began: Instant,
    /// When a tunnel last ended, in milliseconds since `began`.
    left_ms: AtomicU64,
    hurried: Notify,
    kept: AtomicBool,
}

impl LineUse {
    pub fn new(key: LineKey) -> Self {
        Self {
            key,
            route: Mutex::default(),
            flight: tokio::sync::Mutex::default(),
            users: AtomicU32::new(0),
            began: Instant::now(),
            left_ms: AtomicU64::new(0),
            hurried: Notify::new(),
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
        self.hurried.notify_one();
    }

    /// How long nobody has used it; `None` while somebody does.
    fn quiet_for(&self) -> Option<Duration> {
        (self.users() == 0)
            .then(|| self.began.elapsed().saturating_sub(Duration::from_millis(self.left_ms.load(Ordering::Acquire))))
    }

    /// Whether the store has yet to hear that the line is quiet.
    pub fn kept(&self) -> bool {
        self.kept.load(Ordering::Acquire)
    }
}

/// Counts a tunnel on the line while this lives; the store hears of the first and of the last. Nobody
/// is woken for any between: whoever keeps the line looks often enough.
pub(crate) struct Using(Arc<LineUse>);

impl Using {
    pub fn new(core: &Arc<Core>, line: &Arc<LineUse>) -> Self {
        line.users.fetch_add(1, Ordering::AcqRel);
        if !line.kept.swap(true, Ordering::AcqRel) {
            core.control.spawn(keep(Arc::clone(core), Arc::clone(line)));
        }
        Self(Arc::clone(line))
    }
}

impl Drop for Using {
    fn drop(&mut self) {
        let line = &self.0;
        // Before the count: who sees nobody sees when the last one left.
        let now = u64::try_from(line.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        line.left_ms.fetch_max(now, Ordering::AcqRel);
        line.users.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells the store that the line is used, and, once it has not been for the linger time, that it
/// is quiet. One task per line in use, so that the two never cross.
async fn keep(core: Arc<Core>, line: Arc<LineUse>) {
    loop {
        tell(&core, &line, true).await;
        until_quiet(&core, &line, core.config.linger).await;
        tell(&core, &line, false).await;
        // A swap, for it must see what a tunnel did that saw `kept` before.
        line.kept.swap(false, Ordering::AcqRel);
        // A tunnel that came meanwhile saw `kept` and made no keeper of its own.
        if line.users() == 0 || line.kept.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}

/// Waits until nobody has used the line for `linger`; until nobody uses it, while the edge drains.
async fn until_quiet(core: &Core, line: &LineUse, linger: Duration) {
    loop {
        let left = match line.quiet_for() {
            // Whoever leaves from now on is quiet for `linger` no sooner than this looks again.
            None => linger.max(LOOK),
            Some(quiet) if quiet >= linger || core.draining() => return,
            Some(quiet) => linger - quiet,
        };
        let _ = tokio::time::timeout(left, line.hurried.notified()).await;
    }
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
