//! Story, ahead of each period: customers get their buckets, so that no edge waits for one at
//! midnight of the first.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_domain::budget::{Bucket, UNLIMITED};
use tollgate_domain::customer::Customer;
use tollgate_domain::time::Timestamp;
use tollgate_store::StoreError;
use tollgate_store::allowance::Grant;

use crate::platform::Platform;

/// How long before a period its buckets are made.
const AHEAD: Duration = Duration::from_secs(3 * 86_400);
/// Customers read at once.
const PAGE: usize = 100;

/// What one run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRun {
    /// Customers looked at.
    pub customers: u32,
    /// Grants made.
    pub granted: u32,
    /// Customers whose buckets could not be made; the next run repeats them.
    pub failed: u32,
}

/// Makes the missing buckets of all customers: of this period, and of the next once it is near.
///
/// # Errors
/// [`StoreError`] if customers cannot be listed.
pub async fn create_budgets(platform: &Platform) -> Result<BudgetRun, StoreError> {
    let mut run = BudgetRun::default();
    let mut after = None;
    loop {
        let page = platform.store.customers(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(run) };
        after = Some(last.id.clone());
        for customer in page.iter().filter(|c| c.deleted_at.is_none()) {
            run.customers += 1;
            match ensure_budgets(platform, customer).await {
                Ok(n) => run.granted += n,
                Err(e) => {
                    tracing::error!(customer = %customer.id, error = %e, "buckets could not be made");
                    run.failed += 1;
                }
            }
        }
    }
}

/// Makes the buckets that `customer` lacks, and tops up this period's if the plan grew. Returns
/// how many grants it made.
///
/// # Errors
/// [`StoreError`]; safe to repeat.
pub async fn ensure_budgets(platform: &Platform, customer: &Customer) -> Result<u32, StoreError> {
    let now = platform.now();
    let mut granted = grant_period(platform, customer, now.month_start(), now).await?;
    let next = now.next_month_start();
    if next.since(now) <= AHEAD {
        granted += grant_period(platform, customer, next, now).await?;
    }
    Ok(granted)
}

async fn grant_period(
    platform: &Platform,
    customer: &Customer,
    start: Timestamp,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let until = start.next_month_start();
    let (bucket, wanted) = match customer.limits.quota_bytes {
        Some(quota) => (Bucket::Plan { start }, quota),
        None => (Bucket::Unlimited { start }, UNLIMITED),
    };
    let mut has = platform.store.allowances(&customer.id).await?;
    let of_period = |b: &Bucket| matches!(b, Bucket::Plan { start: s } | Bucket::Unlimited { start: s } if *s == start);
    has.retain(|(b, _)| of_period(b));
    // What the plan of before granted and nobody holds goes, where this plan grants less.
    for (b, a) in has.iter().filter(|(b, a)| *b != bucket || a.granted > wanted) {
        let most = if *b == bucket { a.granted - wanted } else { a.granted };
        let source = format!("withdraw#{b}#c{}", customer.ver);
        platform.store.withdraw(&customer.id, b, &source, most, now).await?;
    }
    let has = has.into_iter().find(|(b, _)| *b == bucket);
    let (source, bytes) = match &has {
        None => (format!("plan#{bucket}"), wanted),
        // A larger plan in the middle of a period adds what it has more.
        Some((_, a)) if a.granted < wanted => (format!("plan#{bucket}#c{}", customer.ver), wanted - a.granted),
        Some(_) => return Ok(0),
    };
    let grant = Grant { source, bytes, plan_ver: customer.plan_ver, spend_from: start, spend_until: until };
    Ok(u32::from(platform.store.grant(&customer.id, &bucket, &grant, now).await?))
}
