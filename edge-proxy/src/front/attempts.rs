//! What follows a failed attempt, for tunnels and requests alike: an address bound anew, another
//! row of the pool, another address of the gateway, the same again where the gateway itself
//! chooses another exit, or nothing.
//!
//! One more attempt at most, begun within the time for dialling, and only while the client has
//! heard nothing: whoever calls knows that. The refusal told is that of the last attempt.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tollgate_domain::refusal::Refusal;
use tollgate_domain::target::Target;

use super::Front;
use super::admission::{Admitted, Way};
use crate::upstream::dial;
use crate::upstream::{self, Attempt, Failed, Fault, Purpose, Through};
use crate::worker::Worker;

/// Who wants to get where.
pub(super) struct Errand<'a> {
    pub admitted: &'a Admitted,
    pub target: &'a Target,
    pub purpose: Purpose,
    pub correlation_id: &'a str,
}

/// The attempts of one tunnel or request, together.
pub(super) struct Tries {
    until: Instant,
    spent: bool,
    avoid: Option<SocketAddr>,
}

impl Tries {
    /// None was made. All of them have the time that one may take.
    pub fn new(worker: &Worker) -> Self {
        Self { until: Attempt::only(worker).until, spent: false, avoid: None }
    }

    fn attempt(&self) -> Attempt {
        Attempt { until: self.until, avoid: self.avoid }
    }
}

impl Front {
    /// A connection to `target` as a tunnel.
    pub(super) async fn connect(
        &self,
        admitted: &Admitted,
        target: &Target,
        correlation_id: &str,
    ) -> Result<(Way, Through), Refusal> {
        self.check_target(admitted, target)?;
        let errand = Errand { admitted, target, purpose: Purpose::Tunnel, correlation_id };
        let way = self.way(admitted, correlation_id, None).await?;
        self.reach(&mut Tries::new(&self.worker), &errand, way).await
    }

    /// A connection over `way`, or over what is tried in its place.
    pub(super) async fn reach(
        &self,
        tries: &mut Tries,
        errand: &Errand<'_>,
        mut way: Way,
    ) -> Result<(Way, Through), Refusal> {
        loop {
            self.check_way(&way, errand.target)?;
            let attempt = tries.attempt();
            let opened = upstream::open(&self.worker, &way.route, errand.target, errand.purpose, &attempt).await;
            match opened {
                Ok(through) => return Ok((way, through)),
                Err(failed) => way = Box::pin(self.instead(tries, errand, way, failed)).await?,
            }
        }
    }

    /// What is tried after `way` has failed.
    ///
    /// # Errors
    /// The failure's refusal if nothing is; that of the assigner if it has no other address.
    pub(super) async fn instead(
        &self,
        tries: &mut Tries,
        errand: &Errand<'_>,
        way: Way,
        failed: Failed,
    ) -> Result<Way, Refusal> {
        way.give_up(&failed);
        if tries.spent || failed.fault == Fault::Request || Instant::now() >= tries.until {
            return Err(failed.refusal);
        }
        if let Some(row) = &way.row
            && let Some(other) = self.core.upstreams.table().beside(row, &errand.admitted.account.id)
        {
            tries.spent = true;
            return Ok(Way::over(other, Arc::clone(&way.line), &errand.admitted.spec));
        }
        match failed.fault {
            Fault::Lost if way.row.is_none() => {
                let lost = way.route.proxy.clone();
                drop(way);
                let asked = Instant::now();
                let way = self.way(errand.admitted, errand.correlation_id, Some(lost)).await?;
                // The assigner's time is not the gateway's.
                tries.until += asked.elapsed();
                tries.spent = true;
                Ok(way)
            }
            Fault::Peer => {
                tries.spent = true;
                Ok(way)
            }
            Fault::Gateway if self.has_another_address(&way, failed.at).await => {
                (tries.spent, tries.avoid) = (true, failed.at);
                Ok(way)
            }
            _ => Err(failed.refusal),
        }
    }

    async fn has_another_address(&self, way: &Way, failed: Option<SocketAddr>) -> bool {
        match failed {
            Some(failed) => dial::has_another(&self.worker, &way.route.host, way.route.port, failed).await,
            // All of them were tried.
            None => false,
        }
    }
}
