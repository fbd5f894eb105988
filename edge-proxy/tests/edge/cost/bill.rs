//! An edge whose calls are written down, and what they come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tollgate_edge::Edge;
use tollgate_engine::{Consumed, Recorder};
use tollgate_store::Store;

use crate::support::World;

/// Calls of one kind, and what they consumed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub calls: u64,
    consumed: Consumed,
}

impl Tally {
    /// Rounded up.
    pub fn read_units(&self) -> u64 {
        whole(self.consumed.read)
    }

    /// Rounded up.
    pub fn write_units(&self) -> u64 {
        whole(self.consumed.write)
    }
}

/// Tallies by operation and table.
#[derive(Debug)]
pub struct Bill(BTreeMap<(String, String), Tally>);

impl Bill {
    /// Of the calls that have ended.
    pub fn of(recorder: &Recorder) -> Self {
        let mut tallies = BTreeMap::<_, Tally>::new();
        for call in recorder.calls().into_iter().filter(|c| c.end.is_some()) {
            let tally = tallies.entry((call.operation, call.tables.join("+"))).or_default();
            tally.calls += 1;
            tally.consumed.read += call.consumed.read;
            tally.consumed.write += call.consumed.write;
        }
        Self(tallies)
    }

    pub fn get(&self, operation: &str, table: &str) -> Tally {
        self.0.get(&(operation.to_owned(), table.to_owned())).copied().unwrap_or_default()
    }

    /// Of all calls, rounded up.
    pub fn read_units(&self) -> u64 {
        whole(self.0.values().map(|t| t.consumed.read).sum())
    }

    /// Of all calls, rounded up.
    pub fn write_units(&self) -> u64 {
        whole(self.0.values().map(|t| t.consumed.write).sum())
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few thousand, never negative
fn whole(units: f64) -> u64 {
    units.ceil() as u64
}

/// An edge of this world, and what writes its calls down.
pub async fn metered(w: &World) -> (Edge, Arc<Recorder>) {
    let recorder = Recorder::new();
    let store = Store::new(w.engine.client_recorded(Arc::clone(&recorder)), "t-");
    (w.try_start(store).await.unwrap(), recorder)
}

/// Nothing but settlements and reports happens by itself: no feed, resync, heartbeat or line mark.
pub fn without_timers(w: &mut World) {
    let never = Duration::from_secs(86_400);
    let c = &mut w.config;
    for interval in [&mut c.feed_interval, &mut c.resync_interval, &mut c.heartbeat_interval, &mut c.linger] {
        *interval = never;
    }
    // Without heartbeats an edge would think that others think it dead.
    c.dead_after = never;
}
