//! The record of one tunnel, exchange or association that ended: its line in the access log, and
//! its usage events.

use std::time::{Duration, Instant};

use super::admission::{Admitted, Registered, Way};
use super::events::{self, Figures};
use crate::access_log::{self, Kind};
use crate::meter::Meter;
use crate::tunnel::{CloseReason, Pass};
use crate::worker::Worker;

/// What is not known elsewhere.
pub(super) struct Record {
    pub kind: Kind,
    pub began: Instant,
    pub connected: Duration,
    pub reason: CloseReason,
}

fn ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

impl Record {
    pub fn write(self, worker: &Worker, admitted: &Admitted, way: &Way, meter: &Meter, registered: &Registered) {
        let tunnel = &registered.tunnel;
        let (ingress_bytes, egress_bytes) = meter.counted();
        let duration = self.began.elapsed();
        let first_byte = meter.first_byte().map(|at| at.saturating_duration_since(self.began));
        worker.log.record(&access_log::Record {
            kind: self.kind,
            connection: tunnel.id,
            customer: admitted.account.id.as_str(),
            user: matches!(admitted.pass, Pass::Password { .. }).then(|| admitted.spec.name.as_str()),
            line: Some(way.line.key.label.as_str()),
            listener_port: tunnel.listener_port,
            upstream: Some(&way.route.name),
            country: way.route.country.map(|c| c.as_str()),
            ingress_bytes,
            egress_bytes,
            connect_ms: Some(ms(self.connected)),
            first_byte_ms: first_byte.map(ms),
            duration_ms: ms(duration),
            reason: self.reason.as_str(),
            correlation_id: &tunnel.correlation_id,
            source: Some(tunnel.source),
        });
        // Of a request both are told at once, when it is over.
        if self.kind == Kind::Request {
            events::started(worker, admitted, way, registered, self.connected);
        }
        let reason = Some(self.reason);
        let figures = Figures { ingress: ingress_bytes, egress: egress_bytes, duration, reason };
        events::ended(worker, admitted, way, registered, &figures);
    }
}
