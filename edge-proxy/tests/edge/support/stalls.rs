//! How long this machine stood still, so that a test of a rate blames the edge only for its own time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread that sleeps a little again and again, and adds up what it overslept.
pub struct Stalls {
    overslept: Arc<AtomicU64>,
}

impl Stalls {
    const SLEEP: Duration = Duration::from_millis(4);

    pub fn watch() -> Self {
        let overslept = Arc::new(AtomicU64::new(0));
        // Ends with the watcher, which holds the other reference.
        let told = Arc::downgrade(&overslept);
        thread::spawn(move || {
            loop {
                let began = Instant::now();
                thread::sleep(Self::SLEEP);
                let Some(told) = told.upgrade() else { return };
                let over = began.elapsed().saturating_sub(Self::SLEEP);
                if over > Self::SLEEP {
                    told.fetch_add(u64::try_from(over.as_micros()).unwrap(), Ordering::Relaxed);
                }
            }
        });
        Self { overslept }
    }

    /// Of all the time since the watch began.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.overslept.load(Ordering::Relaxed))
    }
}
