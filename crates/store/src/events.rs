//! Usage events: `EVENT#<customer>#<yyyy-mm-dd> / <milliseconds>#<connection>#<kind>#<seq>`. The
//! key is the event: one that is written again is the same item. They are kept for 30 days.
//!
//! A customer's day is one Query, in order of time. A proxy's events are those of its customer's
//! day that name it: a list of their own would double what each event costs.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use tollgate_domain::id::{CustomerId, ProxyId};
use tollgate_domain::time::Timestamp;
use tollgate_domain::usage_event::{EventPlace, UsageEvent};

use crate::error::unavailable;
use crate::item::{decode, encode, sort_key};
use crate::{Store, StoreError, Table, keys};

/// Events in one call of the database. More are written by several.
pub const BATCH: usize = 25;

/// How often what the database left undone is sent again. With pauses of 5–160 ms, doubling, that
/// is half a second.
const RETRIES: u32 = 7;
/// Events read at a time where few of them may be asked for.
const SPARSE: usize = 200;
/// Events looked at for one page.
const LOOKED_AT: usize = 1000;

/// Some events of a customer's day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// In order of time.
    pub events: Vec<UsageEvent>,
    /// Where the next page begins; none = there is none.
    pub next: Option<EventPlace>,
}

impl Store {
    /// Writes events of a customer, whatever is there: an event is written once, however often it
    /// is sent.
    ///
    /// # Errors
    /// [`StoreError`]: some of them may be written. Safe to repeat.
    pub async fn record_events(&self, customer: &CustomerId, events: &[UsageEvent]) -> Result<(), StoreError> {
        for batch in events.chunks(BATCH) {
            // A batch may name no item twice.
            let mut writes = BTreeMap::new();
            for event in batch {
                let key = keys::event(customer, &event.place());
                let item = encode(&key, event, Some(event.expires()))?;
                writes.insert((key.pk, key.sk), item);
            }
            let mut left = Vec::new();
            for item in writes.into_values() {
                let put = PutRequest::builder().set_item(Some(item)).build();
                let put = put.map_err(|e| StoreError::Unavailable(e.to_string()))?;
                left.push(WriteRequest::builder().put_request(put).build());
            }
            self.put_all(left).await?;
        }
        Ok(())
    }

    /// Puts items until none is left, or the database has left some undone too often.
    async fn put_all(&self, mut left: Vec<WriteRequest>) -> Result<(), StoreError> {
        let table = self.table(Table::Usage);
        for attempt in 0..=RETRIES {
            if left.is_empty() {
                return Ok(());
            }
            if attempt > 0 {
                crate::tx::pause(attempt - 1).await;
            }
            let call = self.db.batch_write_item().request_items(&table, left);
            let out = call.send().await.map_err(|e| unavailable(&e))?;
            left = out.unprocessed_items.unwrap_or_default().remove(&table).unwrap_or_default();
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!("{} of a batch's items were not taken", left.len())))
    }

    /// The events of a customer's UTC day (`yyyy-mm-dd`), in order of time: at most `limit` of those
    /// that follow `after`, of one proxy or of all. What has expired at `now` is not among them. A
    /// page may have fewer than `limit`, or none, and a next one all the same.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events(
        &self,
        customer: &CustomerId,
        day: &str,
        proxy: Option<&ProxyId>,
        after: Option<&EventPlace>,
        limit: usize,
        now: Timestamp,
    ) -> Result<EventPage, StoreError> {
        let day = keys::events_of_day(customer, day);
        let chunk = if proxy.is_some() { limit.max(SPARSE) } else { limit }.max(1);
        // What follows a key is what follows it with anything behind it.
        let beyond = |key: &str| format!("{key}\u{1}");
        let mut from = after.map_or_else(|| beyond(""), |place| beyond(&keys::event_sort(place)));
        let (mut events, mut looked_at) = (Vec::new(), 0);
        loop {
            let items = self.query(Table::Usage, &day, &from, "~", Some(chunk)).await?;
            let whole = items.len() < chunk;
            looked_at += items.len();
            if let Some(last) = items.last() {
                from = beyond(sort_key(last));
            }
            let mut seen = None;
            for item in items {
                let event: UsageEvent = decode(item)?;
                seen = Some(event.place());
                if now < event.expires() && proxy.is_none_or(|p| event.proxy.as_ref() == Some(p)) {
                    events.push(event);
                }
                if events.len() == limit {
                    return Ok(EventPage { events, next: seen });
                }
            }
            if whole {
                return Ok(EventPage { events, next: None });
            }
            if looked_at >= LOOKED_AT {
                return Ok(EventPage { events, next: seen });
            }
        }
    }
}
