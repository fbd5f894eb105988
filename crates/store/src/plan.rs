//! Plans: `PLANS / <code>#<version>`. A version never changes; a change is the next version.

use tollgate_domain::plan::Plan;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::item::{decode, encode};
use crate::{Store, StoreError, Table, keys};

/// How often the next version is tried because another writer took it.
const RACES: u32 = 16;

impl Store {
    /// A plan at a version; none = the latest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plan(&self, code: &str, ver: Option<u32>) -> Result<Option<Plan>, StoreError> {
        if let Some(ver) = ver {
            return self.read(&keys::plan(code, ver)).await;
        }
        let mut versions = self.query_prefix(Table::Accounts, keys::PLANS, &format!("{code}#")).await?;
        versions.pop().map(decode).transpose()
    }

    /// All versions of all plans, in order of code, then of version.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn plans(&self) -> Result<Vec<Plan>, StoreError> {
        let items = self.query_prefix(Table::Accounts, keys::PLANS, "").await?;
        items.into_iter().map(decode).collect()
    }

    /// Writes the plans that do not exist yet at their version; the others stay as they are.
    /// Returns how many were written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn seed_plans(&self, catalogue: &[Plan]) -> Result<usize, StoreError> {
        let mut written = 0;
        for plan in catalogue {
            written += usize::from(self.put_plan(plan).await?);
        }
        Ok(written)
    }

    /// Writes `plan` as the next version of its code, whatever version it names, and returns it
    /// as written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn new_plan_version(&self, plan: &Plan) -> Result<Plan, StoreError> {
        let mut next = plan.clone();
        next.ver = self.plan(&plan.code, None).await?.map_or(1, |latest| latest.ver.saturating_add(1));
        for _ in 0..RACES {
            if self.put_plan(&next).await? {
                return Ok(next);
            }
            next.ver = next.ver.saturating_add(1);
        }
        Err(StoreError::Unavailable(format!("plan {} keeps changing", plan.code)))
    }

    /// Whether `plan` is now written at its version: false if another one stands there.
    async fn put_plan(&self, plan: &Plan) -> Result<bool, StoreError> {
        let key = keys::plan(&plan.code, plan.ver);
        match self.write(|| Ok(Write::put(key.clone(), encode(&key, plan, None)?).when(ABSENT))).await {
            Ok(_) => Ok(true),
            Err(Failure::Condition(failed)) => {
                let old = failed.into_iter().find_map(|(_, old)| old).map(decode::<Plan>).transpose()?;
                Ok(old.is_some_and(|old| old == *plan))
            }
            Err(e) => Err(e.into_store()),
        }
    }
}
