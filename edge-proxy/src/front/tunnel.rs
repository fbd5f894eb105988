//! A tunnel that stands: relayed to its end, recorded, closed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::LINGER;
use super::admission::{Admitted, Registered, Way};
use super::record::Record;
use crate::access_log::Kind;
use crate::leg::Leg;
use crate::meter::Meter;
use crate::relay::{self, Early, linger_close};
use crate::tunnel::CloseReason;
use crate::worker::Worker;

/// All that a tunnel needs beside its client.
pub(super) struct Opened {
    pub kind: Kind,
    pub upstream: Leg,
    pub early: Early,
    pub meter: Meter,
    pub registered: Registered,
    pub admitted: Admitted,
    pub way: Way,
    pub began: Instant,
    pub connected: Duration,
}

/// See the module.
pub(super) struct Carried {
    worker: Rc<Worker>,
    client: Leg,
    opened: Box<Opened>,
}

impl Carried {
    pub fn new(worker: Rc<Worker>, client: Leg, opened: Box<Opened>) -> Self {
        Self { worker, client, opened }
    }

    pub async fn run(mut self) {
        let early = std::mem::take(&mut self.opened.early);
        let o = &self.opened;
        let idle = self.worker.live.get().idle_timeout;
        let reason = relay::run(&self.client, &o.upstream, early, &o.meter, &o.registered.tunnel, idle).await;
        let record = Record { kind: o.kind, began: o.began, connected: o.connected, reason };
        record.write(&self.worker, &o.admitted, &o.way, &o.meter, &o.registered);
        drop(self.opened);
        if !matches!(reason, CloseReason::Finished | CloseReason::Client) {
            linger_close(self.client, LINGER).await;
        }
    }
}
