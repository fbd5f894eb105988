//! A tunnel: made ready; and once it stands relayed to its end, recorded, closed.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tollgate_domain::refusal::Refusal;
use tollgate_domain::target::Target;

use super::admission::{Admitted, Registered, Way};
use super::record::Record;
use super::{Front, LINGER};
use crate::access_log::Kind;
use crate::exchange::stop_refusal;
use crate::leg::Leg;
use crate::meter::Meter;
use crate::relay::{self, Early, linger_close};
use crate::tunnel::CloseReason;
use crate::upstream::Through;
use crate::worker::Worker;

/// What a tunnel goes over, before its client hears of it.
pub(super) struct Ready {
    pub way: Way,
    pub through: Through,
    pub meter: Meter,
    pub registered: Registered,
}

impl Front {
    /// A connection to `target` for a client who was admitted, bytes for it, and its place among the
    /// tunnels that others see.
    pub(super) async fn ready(
        &self,
        admitted: &Admitted,
        target: &Target,
        correlation_id: &str,
    ) -> Result<Ready, Refusal> {
        let (way, through) = self.connect(admitted, target, correlation_id).await?;
        let meter = self.meter(admitted, &way);
        meter.ready().await.map_err(stop_refusal)?;
        let registered = self.register(admitted, &way, correlation_id, &meter).await?;
        Ok(Ready { way, through, meter, registered })
    }
}

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
