//! Idempotency records: `IDEM#<principal>#<key> / IDEM`. The first request with a key claims it;
//! its answer is given again to whoever repeats it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::Write;
use crate::item::{Key, decode, encode, value};
use crate::tx::token;
use crate::{Store, StoreError, keys};

/// How long an answer is given again.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// After this time a claim without an answer belongs to a request that died.
pub const TAKEOVER: Duration = Duration::from_secs(60);

/// An answer, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, as JSON text.
    pub body: String,
}

/// The right to carry out a request and to record its answer.
#[derive(Debug)]
pub struct Claim {
    key: Key,
    record: Record,
}

/// What a request with a key finds.
#[derive(Debug)]
pub enum Begin {
    /// Nobody did this: do it, then [`Store::finish`] or [`Store::abandon`].
    Fresh(Claim),
    /// It was done: this was the answer.
    Replay(Answer),
    /// The key was used for another request.
    Mismatch,
    /// The same request is being carried out.
    InFlight,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Whose claim: fences off an answer that comes after a takeover.
    claim: String,
    /// What the request was.
    request: String,
    /// When it was claimed.
    since: Timestamp,
    /// From then on the record counts for nothing.
    expires: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
}

impl Store {
    /// Claims `key` of `principal` for the request with this digest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin(&self, principal: &str, key: &str, request: &str, now: Timestamp) -> Result<Begin, StoreError> {
        let key = keys::idempotency(principal, key);
        let record =
            Record { claim: token(), request: request.to_owned(), since: now, expires: now.plus(KEPT), answer: None };
        let done = self
            .write(|| {
                Ok(Write::put(key.clone(), encode(&key, &record, Some(record.expires))?)
                    .when(
                        "attribute_not_exists(pk) OR expires <= :now \
                         OR (attribute_not_exists(answer) AND since <= :dead AND #r = :request)",
                    )
                    .name("#r", "request")
                    .value(":now", value(&now)?)
                    .value(":dead", value(&now.minus(TAKEOVER))?)
                    .value(":request", value(&record.request)?))
            })
            .await;
        let failed = match done {
            Ok(_) => return Ok(Begin::Fresh(Claim { key, record })),
            Err(Failure::Condition(failed)) => failed,
            Err(e) => return Err(e.into_store()),
        };
        let Some(found) = failed.into_iter().find_map(|(_, old)| old).map(decode::<Record>).transpose()? else {
            return Ok(Begin::InFlight);
        };
        Ok(match found {
            f if f.claim == record.claim => Begin::Fresh(Claim { key, record }),
            f if f.request != record.request => Begin::Mismatch,
            Record { answer: Some(answer), .. } => Begin::Replay(answer),
            _ => Begin::InFlight,
        })
    }

    /// Records the answer of a claimed request. Returns false, and writes nothing, if somebody
    /// else took the claim over meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn finish(&self, claim: Claim, answer: Answer) -> Result<bool, StoreError> {
        let Claim { key, mut record } = claim;
        record.answer = Some(answer);
        let done = self
            .write(|| {
                Ok(Write::put(key.clone(), encode(&key, &record, Some(record.expires))?)
                    .when("claim = :claim")
                    .value(":claim", value(&record.claim)?))
            })
            .await;
        Self::held(done.map(drop))
    }

    /// Gives a claim back, so that the request may be tried again. Returns false if somebody
    /// else holds it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn abandon(&self, claim: Claim) -> Result<bool, StoreError> {
        let done = self
            .write(|| {
                Ok(Write::delete(claim.key.clone())
                    .when("attribute_not_exists(pk) OR claim = :claim")
                    .value(":claim", value(&claim.record.claim)?))
            })
            .await;
        Self::held(done.map(drop))
    }

    fn held(done: Result<(), Failure>) -> Result<bool, StoreError> {
        match done {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }
}
