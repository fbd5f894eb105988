//! Recycling: an idle address of the country, before anything is bought.

use tokio::time::Instant;
use tollgate_domain::assignment::AssignmentState;
use tollgate_domain::country::Country;
use tollgate_domain::proxy::{HEALTH_MIN, ProxyState};
use tollgate_store::assignment::Claim;
use tollgate_store::proxy::FreeProxy;

use super::{Next, Stop, Walk, in_progress};

/// Entries of a free list read at once.
pub(super) const PAGE: usize = 10;

impl Walk<'_> {
    /// The proxy that served this line last, if it is still idle and fits.
    pub(super) async fn own_previous(&mut self) -> Result<Option<Next>, Stop> {
        let Some(id) = self.returning.take() else { return Ok(None) };
        let Some(proxy) = self.platform.store.proxy(&id).await? else { return Ok(None) };
        let (Some(idle_since), Some(due)) = (proxy.idle_since, proxy.due) else { return Ok(None) };
        let ours = proxy.line.as_ref() == Some(&self.claim.line);
        if proxy.state != ProxyState::Idle || !ours || proxy.class != self.claim.class || proxy.health < HEALTH_MIN {
            return Ok(None);
        }
        let asked = self.claim.requested;
        if proxy.country != asked {
            // It stood in for the country that is asked for again, or it is of no use now.
            if self.asked_before != Some(asked) || !self.chain().await?.contains(&proxy.country) {
                return Ok(None);
            }
        }
        let free = FreeProxy {
            id,
            country: proxy.country,
            class: proxy.class,
            idle_since,
            due,
            health: proxy.health,
            last_line: proxy.line,
        };
        for attempt in 0..3 {
            match self.try_claim(&free).await? {
                Tried::Done(next) => return Ok(Some(*next)),
                Tried::Conflict => pause(attempt).await,
                Tried::Gone => break,
            }
        }
        Ok(None)
    }

    /// Claims an idle address of `country`. `NotHere` only after a consistent query found the
    /// free list empty: a conflict is no reason to buy.
    pub(super) async fn recycle(&mut self, country: Country, known: Vec<FreeProxy>) -> Result<Next, Stop> {
        let store = &self.platform.store;
        let mut candidates = known;
        let mut attempt = 0;
        loop {
            candidates.retain(|c| c.health >= HEALTH_MIN);
            if candidates.is_empty() {
                let class = self.claim.class;
                candidates = store.free_proxies(country, class, crate::random::spread(), PAGE).await?;
                candidates.retain(|c| c.health >= HEALTH_MIN);
                if candidates.is_empty() {
                    return Ok(Next::NotHere);
                }
            }
            for free in std::mem::take(&mut candidates) {
                match self.try_claim(&free).await? {
                    Tried::Done(next) => return Ok(*next),
                    Tried::Gone => {}
                    Tried::Conflict => pause(attempt).await,
                }
                attempt += 1;
            }
            if Instant::now() >= self.deadline {
                return Err(in_progress("idle proxies are contended", 1));
            }
        }
    }

    async fn try_claim(&mut self, free: &FreeProxy) -> Result<Tried, Stop> {
        let now = self.platform.now();
        let mut bound = self.claim.clone();
        bound.state = AssignmentState::Bound;
        bound.country = Some(free.country);
        bound.proxy = Some(free.id.clone());
        bound.bound_at = Some(now);
        bound.intent = None;
        bound.hops.push(tollgate_domain::assignment::Hop {
            country: free.country,
            provider: Some(free.id.provider.clone()),
            outcome: "recycled".to_owned(),
            intent: None,
        });
        let claim = self.platform.store.claim_idle(&bound, self.found(), free, now).await?;
        match claim {
            Claim::Won => {
                self.claim_written();
                Ok(Tried::Done(Box::new(Next::Bound(Box::new(bound)))))
            }
            Claim::Conflict => Ok(Tried::Conflict),
            Claim::ProxyGone => Ok(Tried::Gone),
            other => Ok(match self.lost_claim(other).await? {
                Some(next) => Tried::Done(Box::new(next)),
                None => Tried::Gone,
            }),
        }
    }
}

enum Tried {
    Done(Box<Next>),
    Gone,
    Conflict,
}

/// Lets other claimants through: up to 40 ms, jittered.
async fn pause(attempt: u32) {
    let most = 5u64 << attempt.min(3);
    let ms = u64::from(crate::random::spread()) % most + 1;
    tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
}
