//! Who does something through an API, as the audit trail records it.

use serde::Serialize;
use serde_json::Value;
use tollgate_domain::refusal::Refusal;
use tollgate_domain::time::Timestamp;
use tollgate_store::audit::AuditEntry;

use crate::outcome::store;
use crate::platform::Platform;

/// Who acts, from where, in which request, when.
#[derive(Clone, Debug)]
pub struct By {
    /// `admin:<name>` or `customer:<id>`.
    pub actor: String,
    /// The caller's address, `unknown` where nothing tells it.
    pub ip: String,
    /// The request.
    pub correlation_id: String,
    /// When.
    pub at: Timestamp,
}

impl By {
    /// Records that `action` was done to `target`. Call it once the deed is done: if the trail
    /// cannot be written the caller is told so, and doing it again records it.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn record(
        &self,
        platform: &Platform,
        action: &str,
        target: &str,
        before: Option<&(impl Serialize + Sync)>,
        after: Option<&(impl Serialize + Sync)>,
    ) -> Result<(), Refusal> {
        let mut entry = AuditEntry::new(&self.actor, &self.ip, action, target, &self.correlation_id, self.at);
        if let Some(before) = before {
            entry = entry.before(json(before));
        }
        if let Some(after) = after {
            entry = entry.after(json(after));
        }
        platform.store.append_audit(&entry).await.map_err(store)?;
        Ok(())
    }
}

/// For arguments of [`By::record`] that are not there.
pub const NOTHING: Option<&()> = None;

fn json(noun: &impl Serialize) -> Value {
    serde_json::to_value(noun).unwrap_or(Value::Null)
}
