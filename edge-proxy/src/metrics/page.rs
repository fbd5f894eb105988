//! The page at `/metrics`. `docs/OPERATIONS.md` has every family in a table; a test compares the two.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Metrics;
use super::text::Text;
use crate::account::Balance;
use crate::core::Core;

/// What the counters and the parts of the edge say now.
pub(crate) fn page(core: &Core) -> String {
    let mut text = Text::default();
    traffic(&mut text, &core.metrics);
    text.gauge("unauthenticated_connections", "Client connections that have not shown yet who they are.")
        .is(core.strangers.count());
    failures(&mut text, &core.metrics);
    leases(&mut text, core);
    feed(&mut text, core);
    journal(&mut text, core);
    access_log(&mut text, core);
    usage_events(&mut text, &core.metrics);
    text.finish()
}

fn load(n: &AtomicU64) -> u64 {
    n.load(Ordering::Relaxed)
}

fn traffic(text: &mut Text, m: &Metrics) {
    text.counter("connections_total", "Client connections accepted.").is(load(&m.connections));
    text.gauge("open_connections", "Client connections that are open.").is(load(&m.open_connections));
    text.counter("connections_over_limit_total", "Client connections closed at once, because too many were open.")
        .is(load(&m.connections_over_limit));
    text.counter("tunnels_total", "Tunnels, requests in absolute form and UDP associations that began.")
        .is(load(&m.tunnels));
    text.gauge("open_tunnels", "Tunnels, requests and associations under way.").is(load(&m.open_tunnels));
    let (ingress, egress) = m.bytes();
    text.counter("bytes_total", "Billed bytes that moved: ingress from customers, egress to customers.")
        .of(&[("direction", "ingress")], ingress)
        .of(&[("direction", "egress")], egress);
    let mut refusals = text.counter("refusals_total", "Refusals, by the code that the client was told.");
    for (code, n) in m.refusals() {
        refusals.of(&[("code", code.as_str())], n);
    }
}

fn failures(text: &mut Text, m: &Metrics) {
    let mut dials = text.counter(
        "dial_failures_total",
        "Failures to reach a target, by code and provider of the upstream; direct: no upstream, other: beyond 64 providers.",
    );
    for (provider, code, n) in m.dial_failures.so_far() {
        dials.of(&[("code", code.as_str()), ("provider", provider.as_str())], n);
    }
    text.counter("accept_failures_total", "Connections that the system could not give us, for want of descriptors.")
        .is(load(&m.accept_failures));
    text.counter(
        "store_failures_total",
        "Calls of the store that failed; those that a client waited for are refusals.",
    )
    .is(load(&m.store_failures));
    text.counter("reloads_total", "Reloads of the settings: applied, or refused as a whole.")
        .of(&[("outcome", "applied")], load(&m.reloads))
        .of(&[("outcome", "refused")], load(&m.reloads_refused));
}

fn leases(text: &mut Text, core: &Core) {
    let accounts = core.directory.accounts();
    text.gauge("active_customers", "Customers whose profile and books are kept here.").is(accounts.len());
    // Of all customers together: figures of each would be as many as there are customers.
    let held = accounts.iter().map(|a| a.balance(&core.journal)).fold(Balance::default(), Balance::add);
    text.gauge("open_leases", "Leases that are open in the store.").is(held.leases);
    text.gauge("lease_taken_bytes", "Bytes taken from buckets for open leases.").is(held.taken);
    text.gauge("lease_unspent_bytes", "Of the bytes taken for open leases, those that have not moved.")
        .is(held.unspent);
}

fn feed(text: &mut Text, core: &Core) {
    let feed = &core.metrics.feed;
    text.gauge("feed_lag_seconds", "Time since the change feed was last read to its end and applied as a whole.")
        .is(feed.lag(Instant::now()).as_secs_f64());
    text.gauge("cut_off", "1 once the store was silent for longer than `staleness_s`: nobody is carried.")
        .is(u8::from(core.reach.lost()));
    let mut age = text.gauge(
        "feed_newest_change_age_seconds",
        "Time since the newest change that was applied was written; absent until one was.",
    );
    if let Some(written) = feed.newest() {
        age.is(core.clock.now().since(written).as_secs_f64());
    }
}

fn journal(text: &mut Text, core: &Core) {
    let kinds = |(leases, usages): (usize, usize)| [("lease", leases), ("usage", usages)];
    let mut slots = text.gauge("journal_slots", "Slots that the journal has: of leases, and of usages (counters).");
    for (kind, n) in kinds(core.journal.slots()) {
        slots.of(&[("kind", kind)], n);
    }
    let mut used = text.gauge("journal_slots_in_use", "Slots of the journal that are in use.");
    for (kind, n) in kinds(core.journal.depth()) {
        used.of(&[("kind", kind)], n);
    }
}

fn access_log(text: &mut Text, core: &Core) {
    let log = core.access_log.stats();
    text.counter("access_log_written_total", "Access records that reached the file, or standard error.")
        .is(log.written);
    text.counter("access_log_dropped_total", "Access records that were dropped: the writer was behind, or failed.")
        .is(log.dropped);
    text.counter("access_log_failures_total", "Writes, opens and renames of the access log that failed.")
        .is(log.failures);
    text.counter("access_log_rotations_total", "Files of the access log that were rotated away.").is(log.rotations);
}

fn usage_events(text: &mut Text, m: &Metrics) {
    text.gauge("usage_events_waiting", "Usage events that wait to be written to the store.")
        .is(load(&m.events.waiting));
    text.counter("usage_events_written_total", "Usage events that were written to the store.")
        .is(load(&m.events.written));
    text.counter(
        "usage_events_dropped_total",
        "Usage events that were given up: too many waited, or the store was away.",
    )
    .is(load(&m.events.dropped));
}
