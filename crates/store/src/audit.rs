//! The audit trail: `AUDIT#<day>#<shard> / <number>`, append-only. Each entry carries the hash of
//! the one before it in its chain, so that a changed, removed or inserted entry shows.
//!
//! What it does not show: the removal of a chain's newest entries (IAM denies that).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tollgate_domain::time::Timestamp;

use crate::error::{Failure, unavailable};
use crate::expr::{ABSENT, Write};
use crate::item::{decode, encode, s};
use crate::tables::{PARTITION_KEY, SORT_KEY};
use crate::{Store, StoreError, Table, keys};

/// How often the end of a chain is looked for because other writers append too.
const RACES: u32 = 64;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Who did what to what. Secrets are masked when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    actor: String,
    ip: String,
    action: String,
    target: String,
    /// JSON text, as hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    correlation_id: String,
    at: Timestamp,
}

impl AuditEntry {
    /// `actor` at `ip` did `action` to `target`.
    #[must_use]
    pub fn new(actor: &str, ip: &str, action: &str, target: &str, correlation_id: &str, at: Timestamp) -> Self {
        Self {
            actor: actor.to_owned(),
            ip: ip.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            before: None,
            after: None,
            correlation_id: correlation_id.to_owned(),
            at,
        }
    }

    /// What the target was before; secrets in it are masked.
    #[must_use]
    pub fn before(mut self, value: Value) -> Self {
        self.before = Some(masked(value).to_string());
        self
    }

    /// What the target is now; secrets in it are masked.
    #[must_use]
    pub fn after(mut self, value: Value) -> Self {
        self.after = Some(masked(value).to_string());
        self
    }

    /// When it was done.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The entry for people and programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let parsed =
            |t: &Option<String>| t.as_deref().and_then(|t| serde_json::from_str(t).ok()).unwrap_or(Value::Null);
        serde_json::json!({
            "actor": self.actor, "ip": self.ip, "action": self.action, "target": self.target,
            "before": parsed(&self.before), "after": parsed(&self.after),
            "correlation_id": self.correlation_id, "at": self.at.to_string(),
        })
    }

    /// Every field with its length, so that no two entries share a text.
    fn digest(&self, number: u64, prev: &str) -> String {
        let mut h = Sha256::new();
        let at = self.at.as_millis().to_string();
        let number = number.to_string();
        let absent = "\u{0}";
        let fields = [
            prev,
            &number,
            &self.actor,
            &self.ip,
            &self.action,
            &self.target,
            self.before.as_deref().unwrap_or(absent),
            self.after.as_deref().unwrap_or(absent),
            &self.correlation_id,
            &at,
        ];
        for f in fields {
            h.update(u64::try_from(f.len()).unwrap_or(u64::MAX).to_be_bytes());
            h.update(f.as_bytes());
        }
        hex::encode(h.finalize())
    }
}

/// An entry in its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Place in the chain, from 1.
    pub number: u64,
    /// Hash of the record before; of the first one, the name of the chain.
    pub prev: String,
    /// Hash of this one.
    pub hash: String,
    /// What was done.
    pub entry: AuditEntry,
}

/// What a check of a day's chains found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many records, all in their place and unchanged.
    Sound(usize),
    /// The first record that is missing, changed or out of place.
    Broken {
        /// Its chain.
        chain: String,
        /// The number it should have.
        number: u64,
    },
}

impl Store {
    /// Appends an entry to the trail of its day and returns its record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn append_audit(&self, entry: &AuditEntry) -> Result<AuditRecord, StoreError> {
        let day = entry.at.day();
        let shard = keys::shard(&entry.target);
        let mut last = self.last_audit(&day, shard).await?;
        for _ in 0..RACES {
            let (number, prev) = match &last {
                Some(r) => (r.number + 1, r.hash.clone()),
                None => (1, keys::audit_chain(&day, shard)),
            };
            let hash = entry.digest(number, &prev);
            let record = AuditRecord { number, prev, hash, entry: entry.clone() };
            let key = keys::audit(&day, shard, number);
            match self.write(|| Ok(Write::put(key.clone(), encode(&key, &record, None)?).when(ABSENT))).await {
                Ok(_) => return Ok(record),
                Err(Failure::Condition(failed)) => {
                    // Somebody else's record, or our own whose answer was lost.
                    let found = failed.into_iter().find_map(|(_, old)| old).map(decode::<AuditRecord>).transpose()?;
                    if found.as_ref() == Some(&record) {
                        return Ok(record);
                    }
                    last = found;
                }
                // What was done is done: nothing but a silent store keeps it from the trail.
                Err(Failure::Conflict) => {}
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable("the audit trail keeps growing".to_owned()))
    }

    /// The records of a UTC day (`yyyy-mm-dd`), in order of time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(&self, day: &str) -> Result<Vec<AuditRecord>, StoreError> {
        let chains = (0..keys::SHARDS).map(|n| self.audit_shard(day, n));
        let mut records = futures_util::future::try_join_all(chains).await?.concat();
        records.sort_by_key(|r| (r.entry.at, r.number));
        Ok(records)
    }

    /// Whether the records of a UTC day are all in their place and unchanged.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn verify_chain(&self, day: &str) -> Result<Verdict, StoreError> {
        let mut sound = 0;
        for shard in 0..keys::SHARDS {
            let chain = keys::audit_chain(day, shard);
            let mut prev = chain.clone();
            for (number, r) in (1..).zip(self.audit_shard(day, shard).await?) {
                if r.number != number || r.prev != prev || r.hash != r.entry.digest(number, &prev) {
                    return Ok(Verdict::Broken { chain, number });
                }
                prev = r.hash;
                sound += 1;
            }
        }
        Ok(Verdict::Sound(sound))
    }

    async fn audit_shard(&self, day: &str, shard: u8) -> Result<Vec<AuditRecord>, StoreError> {
        let items = self.query_prefix(Table::Audit, &keys::audit_chain(day, shard), "").await?;
        items.into_iter().map(decode).collect()
    }

    async fn last_audit(&self, day: &str, shard: u8) -> Result<Option<AuditRecord>, StoreError> {
        let out = self
            .db
            .query()
            .table_name(self.table(Table::Audit))
            .consistent_read(true)
            .key_condition_expression("#pk = :pk AND #sk > :first")
            .expression_attribute_names("#pk", PARTITION_KEY)
            .expression_attribute_names("#sk", SORT_KEY)
            .expression_attribute_values(":pk", s(keys::audit_chain(day, shard)))
            .expression_attribute_values(":first", s("0"))
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await
            .map_err(|e| unavailable(&e))?;
        out.items.unwrap_or_default().pop().map(decode).transpose()
    }
}

/// `value` with every field that holds a secret replaced, however deep.
fn masked(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(k, v)| if secret(&k) { (k, MASK.into()) } else { (k, masked(v)) }).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(masked).collect()),
        plain => plain,
    }
}

/// Whether a field of this name holds something that lets somebody in.
fn secret(field: &str) -> bool {
    let name = field.to_ascii_lowercase();
    ["password", "secret", "token", "apikey", "api_key", "verifier", "authorization", "proxyurl", "proxy_url", "hash"]
        .iter()
        .any(|s| name.contains(s))
}
