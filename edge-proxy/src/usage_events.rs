//! Usage events of one customer that wait to be written to the store.
//!
//! They are for people to look at: nothing is counted from them, so one that is lost harms no
//! bill, and nobody waits for one. Workers queue them as connections begin, fail and end; the
//! books have them written beside their settlements. The queue is bounded, and so are all
//! queues together: the oldest give way.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate_domain::usage_event::{EventKind, UsageEvent};
use tollgate_store::events::BATCH;

use crate::account::Account;
use crate::core::Core;
use crate::metrics::EventCounts;

/// Events of one customer that may wait.
const MOST: usize = 4096;
/// Events of all customers that may wait: some 15 MB.
const MOST_OF_ALL: u64 = 65_536;
/// With so many waiting they are written at once.
const MANY: usize = 1024;
/// Errors of one customer in a minute: a client that insists must not spend our write units.
const MOST_ERRORS: u32 = 120;

/// See the module.
#[derive(Default)]
pub(crate) struct EventQueue {
    queue: Mutex<Queue>,
    /// Held by who writes them: one at a time.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<UsageEvent>,
    /// Events that were there before the first of `events`.
    gone: u64,
    /// A minute, and the errors that it has had.
    minute: u64,
    errors: u32,
}

impl Queue {
    /// Whether the event is an error too many.
    fn is_too_much(&mut self, event: &UsageEvent) -> bool {
        if event.kind != EventKind::Error {
            return false;
        }
        let minute = event.at.as_millis() / 60_000;
        if minute != self.minute {
            (self.minute, self.errors) = (minute, 0);
        }
        self.errors = self.errors.saturating_add(1);
        self.errors > MOST_ERRORS
    }
}

impl EventQueue {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event. Whether they are to be written at once.
    pub fn push(&self, event: UsageEvent, counts: &EventCounts) -> bool {
        let mut queue = self.queue();
        if queue.is_too_much(&event) {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if queue.events.len() >= MOST || counts.waiting.load(Ordering::Relaxed) >= MOST_OF_ALL {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
            if queue.events.pop_front().is_none() {
                return false;
            }
            queue.gone += 1;
        } else {
            counts.waiting.fetch_add(1, Ordering::Relaxed);
        }
        queue.events.push_back(event);
        queue.events.len() == MANY
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue().events.is_empty()
    }

    /// Whether somebody writes them.
    pub fn being_written(&self) -> bool {
        self.writing.try_lock().is_err()
    }

    /// The oldest, as many as are written at once, and what their end is called.
    fn oldest(&self) -> (Vec<UsageEvent>, u64) {
        let queue = self.queue();
        let oldest: Vec<_> = queue.events.iter().take(BATCH).cloned().collect();
        let end = queue.gone + oldest.len() as u64;
        (oldest, end)
    }

    /// Forgets what was written, up to an end that [`Self::oldest`] has told.
    fn written(&self, end: u64, counts: &EventCounts) {
        let mut queue = self.queue();
        // Some may have given way meanwhile.
        while queue.gone < end && queue.events.pop_front().is_some() {
            queue.gone += 1;
            counts.waiting.fetch_sub(1, Ordering::Relaxed);
            counts.written.fetch_add(1, Ordering::Relaxed);
        }
        if queue.events.is_empty() {
            // A busy hour's room is not kept.
            queue.events = VecDeque::new();
        }
    }

    /// Gives up what waits: nobody will write it.
    pub fn give_up(&self, counts: &EventCounts) {
        let mut queue = self.queue();
        let left = queue.events.len() as u64;
        queue.events = VecDeque::new();
        queue.gone += left;
        counts.waiting.fetch_sub(left, Ordering::Relaxed);
        counts.dropped.fetch_add(left, Ordering::Relaxed);
    }
}

/// Writes what waits, until nothing does or the store fails: what it did not take waits for the
/// next time. An event whose answer was lost is written again, and is the same one.
pub(crate) async fn write(core: &Core, account: &Account) {
    let _one = account.events.writing.lock().await;
    loop {
        let (oldest, end) = account.events.oldest();
        if oldest.is_empty() {
            return;
        }
        if let Err(e) = core.store.record_events(&account.id, &oldest).await {
            core.metrics.store_failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(customer = %account.id, transition = "record_events", error = %e, "store call failed");
            return;
        }
        account.events.written(end, &core.metrics.events);
    }
}

#[cfg(test)]
mod tests {
    use tollgate_domain::time::Timestamp;

    use super::*;

    fn event(number: u64) -> UsageEvent {
        UsageEvent {
            connection: format!("e1.1-{number}").parse().unwrap(),
            kind: EventKind::Error,
            seq: 0,
            at: Timestamp::from_secs(number),
            line: "a".parse().unwrap(),
            proxy: None,
            ingress: 0,
            egress: 0,
            duration_ms: 0,
            reason: None,
            source: None,
        }
    }

    fn counted(counts: &EventCounts) -> (u64, u64, u64) {
        let load = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
        (load(&counts.waiting), load(&counts.written), load(&counts.dropped))
    }

    #[test]
    fn what_is_written_is_forgotten_once_and_the_rest_waits() {
        let (queue, counts) = (EventQueue::default(), EventCounts::default());
        assert!(queue.is_empty());
        (0..30).for_each(|n| assert!(!queue.push(event(n), &counts)));
        let (oldest, end) = queue.oldest();
        assert_eq!(oldest, (0..25).map(event).collect::<Vec<_>>());
        // Not written: the same again.
        assert_eq!(queue.oldest(), (oldest, end));
        queue.written(end, &counts);
        queue.written(end, &counts);
        assert_eq!(queue.oldest().0, (25..30).map(event).collect::<Vec<_>>());
        assert_eq!(counted(&counts), (5, 25, 0));
        queue.give_up(&counts);
        assert_eq!((queue.is_empty(), counted(&counts)), (true, (0, 25, 5)));
    }

    #[test]
    fn the_oldest_give_way_even_while_they_are_written() {
        let (queue, counts) = (EventQueue::default(), EventCounts::default());
        let told = (0..MOST as u64).filter(|n| queue.push(event(*n), &counts)).collect::<Vec<_>>();
        assert_eq!(told, [MANY as u64 - 1]);
        let (_, end) = queue.oldest();
        (0..30).for_each(|n| assert!(!queue.push(event(10_000 + n), &counts)));
        assert_eq!(counted(&counts), (MOST as u64, 0, 30));
        // All that was being written gave way: nothing else is taken for written.
        queue.written(end, &counts);
        assert_eq!((queue.oldest().0[0].clone(), counted(&counts)), (event(30), (MOST as u64, 0, 30)));
    }

    #[test]
    fn a_client_that_insists_fills_a_minute_and_no_more() {
        let (queue, counts) = (EventQueue::default(), EventCounts::default());
        let at = |seconds, kind| UsageEvent { at: Timestamp::from_secs(seconds), kind, ..event(1) };
        (0..200).for_each(|_| assert!(!queue.push(at(60, EventKind::Error), &counts)));
        queue.push(at(119, EventKind::Error), &counts);
        queue.push(at(119, EventKind::ConnectionEnd), &counts);
        assert_eq!(counted(&counts), (121, 0, 81));
        queue.push(at(120, EventKind::Error), &counts);
        assert_eq!(counted(&counts), (122, 0, 81));
    }

    #[test]
    fn all_customers_together_are_bounded_too() {
        let (busy, other, counts) = (EventQueue::default(), EventQueue::default(), EventCounts::default());
        busy.push(event(1), &counts);
        counts.waiting.store(MOST_OF_ALL, Ordering::Relaxed);
        // Who has one gives its own for a new one; who has none does without.
        assert!(!busy.push(event(2), &counts) && !other.push(event(3), &counts));
        assert_eq!(busy.oldest().0, [event(2)]);
        assert!(other.is_empty());
        assert_eq!(counted(&counts), (MOST_OF_ALL, 0, 2));
    }
}
