//! The usage events of a connection, as far as the setting wants them. Only who was admitted has
//! any: what strangers try costs the store nothing.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use tollgate_domain::live::ConnectionId;
use tollgate_domain::refusal::Refusal;
use tollgate_domain::usage_event::{EventKind, UsageEvent};

use super::Front;
use super::admission::{Admitted, Registered, Way};
use crate::account::Account;
use crate::books::Order;
use crate::core::Core;
use crate::tunnel::{CloseReason, Tunnel};
use crate::worker::Worker;

/// The figures of a connection so far.
pub(super) struct Figures {
    pub ingress: u64,
    pub egress: u64,
    pub duration: Duration,
    pub reason: Option<CloseReason>,
}

/// Notes that a connection begins, whose way stood after the time `connected`.
pub(super) fn started(worker: &Worker, admitted: &Admitted, way: &Way, registered: &Registered, connected: Duration) {
    let figures = Figures { ingress: 0, egress: 0, duration: connected, reason: None };
    note(worker, admitted, way, &registered.tunnel, EventKind::ConnectionStart, &figures);
}

/// Notes that a connection ended, and if it was broken off, that it was.
pub(super) fn ended(worker: &Worker, admitted: &Admitted, way: &Way, registered: &Registered, figures: &Figures) {
    if figures.reason.is_some_and(failed) {
        note(worker, admitted, way, &registered.tunnel, EventKind::Error, figures);
    }
    note(worker, admitted, way, &registered.tunnel, EventKind::ConnectionEnd, figures);
}

/// Whether an end is a failure: of the way, of the store, or for want of bytes. What clients and
/// operators end, and what nobody used, ended well.
fn failed(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Upstream | CloseReason::Store | CloseReason::Stale | CloseReason::Quota)
}

fn note(worker: &Worker, admitted: &Admitted, way: &Way, tunnel: &Tunnel, kind: EventKind, figures: &Figures) {
    if !worker.live.get().usage_events.wants(kind) {
        return;
    }
    let core = &worker.core;
    let start = kind == EventKind::ConnectionStart;
    let event = UsageEvent {
        connection: ConnectionId { session: core.session.clone(), number: tunnel.id },
        kind,
        seq: 0,
        at: if start { tunnel.opened_at } else { core.clock.now() },
        line: way.line.key.label.clone(),
        proxy: Some(way.route.proxy.clone()),
        ingress: figures.ingress,
        egress: figures.egress,
        duration_ms: ms(figures.duration),
        reason: figures.reason.map(|r| Cow::Borrowed(r.as_str())),
        source: Some(tunnel.source),
    };
    queue(core, &admitted.account, event);
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn queue(core: &Core, account: &Account, event: UsageEvent) {
    if account.events.push(event, &core.metrics.events) {
        let _ = account.orders.send(Order::Events);
    }
}

impl Front {
    /// Notes that a client who was admitted is refused: it came to no connection.
    pub(super) fn failed(&self, admitted: &Admitted, began: Instant, refusal: &Refusal) {
        if !self.worker.live.get().usage_events.wants(EventKind::Error) {
            return;
        }
        let line = admitted.spec.line_label();
        // What it would have gone over, unless that is lost.
        let proxy = match self.entrance.upstream() {
            Some(behind) => Some(behind.id.clone()),
            None => admitted.account.line(&line).route().map(|route| route.proxy.clone()),
        };
        let event = UsageEvent {
            connection: ConnectionId { session: self.core.session.clone(), number: Tunnel::next_id() },
            kind: EventKind::Error,
            seq: 0,
            at: self.core.clock.now(),
            line,
            proxy,
            ingress: 0,
            egress: 0,
            duration_ms: ms(began.elapsed()),
            reason: Some(Cow::Borrowed(refusal.code.as_str())),
            source: Some(self.peer.ip().to_canonical()),
        };
        queue(&self.core, &admitted.account, event);
    }
}
