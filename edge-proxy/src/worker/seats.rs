//! How many connections each worker carries, and which worker leaves new ones to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ingress::entrance::Entrance;
use crate::metrics::Metrics;

/// A worker may carry this many more than a quarter above the lightest before it holds back.
const SLACK: usize = 16;

/// Counts of all workers.
pub(crate) struct Seats {
    loads: Vec<Load>,
    max: u64,
    metrics: Arc<Metrics>,
}

/// A cache line of its own: it changes with each connection.
#[derive(Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// One connection in the counts, while this lives.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    worker: usize,
    entrance: Arc<Entrance>,
}

impl Seats {
    /// For this many workers, and at most `max` connections of all of them.
    pub fn new(workers: usize, max: usize, metrics: Arc<Metrics>) -> Self {
        Self { loads: (0..workers).map(|_| Load::default()).collect(), max: max as u64, metrics }
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether this worker should leave new connections to others for a moment.
    pub fn heavy(&self, worker: usize) -> bool {
        let lightest = self.loads.iter().map(|l| l.0.load(Ordering::Relaxed)).min().unwrap_or(0);
        heavy(self.load(worker), lightest)
    }

    /// Connections that this worker carries.
    pub fn load(&self, worker: usize) -> usize {
        self.loads.get(worker).map_or(0, |l| l.0.load(Ordering::Relaxed))
    }

    /// Counts a connection in; `None` if there are too many.
    pub fn take(self: &Arc<Self>, worker: usize, entrance: &Arc<Entrance>) -> Option<Seat> {
        if self.metrics.open_connections.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.metrics.open_connections.fetch_sub(1, Ordering::Relaxed);
            self.metrics.connections_over_limit.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.metrics.connections.fetch_add(1, Ordering::Relaxed);
        if let Some(load) = self.loads.get(worker) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        entrance.entered();
        Some(Seat { seats: Arc::clone(self), worker, entrance: Arc::clone(entrance) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(load) = self.seats.loads.get(self.worker) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.seats.metrics.open_connections.fetch_sub(1, Ordering::Relaxed);
        self.entrance.left();
    }
}

fn heavy(mine: usize, lightest: usize) -> bool {
    mine > lightest + lightest / 4 + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::entrance::Kind;

    fn entrance() -> Arc<Entrance> {
        Arc::new(Entrance::new(0, Kind::Gateway, ([127, 0, 0, 1], 1).into(), None))
    }

    #[test]
    fn a_worker_is_heavy_above_a_quarter_more_and_sixteen() {
        assert!(!heavy(16, 0));
        assert!(heavy(17, 0));
        assert!(!heavy(1266, 1000));
        assert!(heavy(1267, 1000));
    }

    #[test]
    fn seats_count_while_they_live_and_end_at_the_limit() {
        let metrics = Arc::new(Metrics::new(2));
        let seats = Arc::new(Seats::new(2, 20, Arc::clone(&metrics)));
        let door = entrance();
        let taken: Vec<_> = (0..20).map(|_| seats.take(1, &door).unwrap()).collect();
        assert!(seats.take(0, &door).is_none());
        assert_eq!((seats.load(0), seats.load(1)), (0, 20));
        assert!(seats.heavy(1) && !seats.heavy(0));
        assert_eq!((door.connections(), door.open()), (20, 20));
        assert_eq!(metrics.connections_over_limit.load(Ordering::Relaxed), 1);
        drop(taken);
        assert_eq!((seats.load(1), door.open(), door.connections()), (0, 0, 20));
        assert_eq!(metrics.open_connections.load(Ordering::Relaxed), 0);
    }
}
