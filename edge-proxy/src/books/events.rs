//! Usage events beside the settlements: what long tunnels have moved so far, and having events
//! written. Nothing here keeps a customer waiting for its bytes, or a lease from being closed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::live::ConnectionId;
use tollgate_domain::time::Timestamp;
use tollgate_domain::usage_event::{EventKind, UsageEvent};

use super::Books;
use crate::tunnel::Tunnel;
use crate::usage_events;

/// A tunnel that goes on is told of at most this often. What is shorter has its end alone.
const EVERY: Duration = Duration::from_secs(60);
/// Time for the last events of a customer who is given up.
const LAST: Duration = Duration::from_secs(2);

/// What was told of tunnels that go on.
#[derive(Default)]
pub(super) struct Transfers {
    looked: Option<Timestamp>,
    /// By tunnel: events so far, and the bytes of the last one.
    told: HashMap<u64, (u32, u64)>,
}

impl Transfers {
    /// Whether it is time to look at tunnels, which is noted then.
    fn due(&mut self, now: Timestamp) -> bool {
        // A clock that was set back is one that is due.
        let due = self.looked.is_none_or(|at| now < at || now.since(at) >= EVERY);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// The number of the event that is due of a tunnel that has moved so many bytes; none = there
    /// is nothing new to tell.
    fn next(&mut self, tunnel: u64, bytes: u64) -> Option<u32> {
        let (events, last) = self.told.entry(tunnel).or_default();
        if bytes == *last {
            return None;
        }
        *last = bytes;
        *events += 1;
        Some(*events - 1)
    }
}

impl Books {
    /// Has events written, if any wait, while the books go on.
    pub(super) fn have_events_written(&mut self) {
        self.note_transfers();
        if self.account.events.is_empty() || self.account.events.being_written() {
            return;
        }
        let (core, account) = (Arc::clone(&self.core), Arc::clone(&self.account));
        tokio::spawn(async move { usage_events::write(&core, &account).await });
    }

    /// Writes the events that wait, as far as the store takes them.
    pub(super) async fn write_events(&mut self) {
        self.note_transfers();
        usage_events::write(&self.core, &self.account).await;
    }

    /// Writes the events that wait, in a short time; what is left then is lost.
    pub(super) async fn last_events(&mut self) {
        if self.account.events.is_empty() {
            return;
        }
        let _ = tokio::time::timeout(LAST, usage_events::write(&self.core, &self.account)).await;
        self.account.events.give_up(&self.core.metrics.events);
    }

    /// Queues what tunnels that go on have moved, each at most once a minute.
    fn note_transfers(&mut self) {
        if !self.core.live.get().usage_events.wants(EventKind::DataTransfer) {
            self.transfers = Transfers::default();
            return;
        }
        let now = self.core.clock.now();
        if !self.transfers.due(now) {
            return;
        }
        let tunnels = self.account.tunnels();
        let live: HashSet<_> = tunnels.iter().map(|t| t.id).collect();
        self.transfers.told.retain(|id, _| live.contains(id));
        for tunnel in tunnels.iter().filter(|t| now.since(t.opened_at) >= EVERY) {
            let moved = tunnel.moved();
            if let Some(seq) = self.transfers.next(tunnel.id, moved.0.saturating_add(moved.1)) {
                self.account.events.push(self.transfer(tunnel, seq, moved, now), &self.core.metrics.events);
            }
        }
    }

    fn transfer(&self, tunnel: &Tunnel, seq: u32, (ingress, egress): (u64, u64), now: Timestamp) -> UsageEvent {
        UsageEvent {
            connection: ConnectionId { session: self.core.session.clone(), number: tunnel.id },
            kind: EventKind::DataTransfer,
            seq,
            at: now,
            line: tunnel.line.clone(),
            proxy: Some(tunnel.route.proxy.clone()),
            ingress,
            egress,
            duration_ms: u64::try_from(now.since(tunnel.opened_at).as_millis()).unwrap_or(u64::MAX),
            reason: None,
            source: Some(tunnel.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_are_looked_at_once_a_minute_whatever_the_clock_does() {
        let mut transfers = Transfers::default();
        let at = Timestamp::from_secs;
        let due: Vec<_> = [1000, 1059, 1060, 1061, 1119, 500, 501, 560].map(|s| transfers.due(at(s))).into();
        assert_eq!(due, [true, false, true, false, false, true, false, true]);
    }

    #[test]
    fn a_tunnel_is_told_of_when_it_has_moved_and_its_events_are_numbered() {
        let mut transfers = Transfers::default();
        assert_eq!(transfers.next(7, 0), None);
        assert_eq!(transfers.next(7, 10), Some(0));
        assert_eq!(transfers.next(7, 10), None);
        assert_eq!((transfers.next(7, 11), transfers.next(8, 1)), (Some(1), Some(0)));
    }
}
