//! Days that are being written: `DAY#<shard> / <yyyy-mm-dd>#<customer>#<session>`, one mark for
//! each edge session that writes daily rows of a customer.
//!
//! **Protocol.** A session marks a day before its first row of it, and again before it repeats a
//! row whose write failed; once no row of it can follow it says so ([`Store::pass_day`]). Whoever
//! settles a crash marks the day before it raises a row. Each marking has an id of its own. Who adds
//! a day up reads the marks, then the rows, and strikes the marks that are still the same
//! ([`Store::strike_day`]): a row that was raised meanwhile, or is raised years later, has left a
//! mark with another id, and the day is added up once more. So a day whose marks are all struck has
//! a total of all its rows, and no day with rows is ever searched for.
//!
//! A day costs a session two writes for each customer, and the one who adds it up a delete.

use serde::{Deserialize, Serialize};
use tollgate_domain::id::{CustomerId, EdgeSession};
use ulid::Ulid;

use crate::error::Failure;
use crate::expr::{PRESENT, Write};
use crate::item::{Item, decode, encode, s, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// How many shards [`Store::days_written`] has.
pub const DAY_SHARDS: u8 = keys::SHARDS;

/// A session's mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who writes, or wrote.
    pub session: EdgeSession,
    /// Whether it said that no row of it follows.
    pub passed: bool,
    id: String,
}

/// A customer's day, and all that write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedDay {
    /// UTC day, `yyyy-mm-dd`.
    pub day: String,
    /// Whose.
    pub customer: CustomerId,
    /// By session, in order; never empty.
    pub marks: Vec<Mark>,
}

#[derive(Serialize, Deserialize)]
struct MarkRow {
    id: String,
    passed: bool,
}

impl Store {
    /// Marks that `session` is about to write rows of a customer's day.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat: each repetition is a new mark.
    pub async fn begin_day(&self, customer: &CustomerId, day: &str, session: &EdgeSession) -> Result<(), StoreError> {
        let key = keys::day_mark(customer, day, session);
        let put = || {
            let row = MarkRow { id: Ulid::generate().to_string(), passed: false };
            Ok(Write::put(key.clone(), encode(&key, &row, None)?))
        };
        self.write(put).await.map(drop).map_err(Failure::into_store)
    }

    /// Notes that `session` writes no more of a customer's day. `false`: its mark was struck already.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn pass_day(&self, customer: &CustomerId, day: &str, session: &EdgeSession) -> Result<bool, StoreError> {
        let key = keys::day_mark(customer, day, session);
        let pass = || Ok(Write::update(key.clone(), "SET passed = :true").when(PRESENT).value(":true", value(&true)?));
        self.applied(pass).await
    }

    /// Days before `before` (`yyyy-mm-dd`) that are marked, oldest first, of the customers in `shard`;
    /// after `after`, about `limit` marks of them. None = there are no more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn days_written(
        &self,
        shard: u8,
        before: &str,
        after: Option<&MarkedDay>,
        limit: usize,
    ) -> Result<Vec<MarkedDay>, StoreError> {
        let list = keys::day_list(shard);
        let end_of = |d: &MarkedDay| format!("{}\u{10FFFF}", keys::day_of_customer(&d.day, &d.customer));
        let from = after.map_or_else(|| "\u{1}".to_owned(), end_of);
        let mut days = Vec::new();
        for item in self.query(Table::Usage, &list, &from, before, Some(limit)).await? {
            add(&mut days, item)?;
        }
        // The last one may have been cut in two.
        if let Some(last) = days.pop() {
            for item in
                self.query_prefix(Table::Usage, &list, &keys::day_of_customer(&last.day, &last.customer)).await?
            {
                add(&mut days, item)?;
            }
        }
        Ok(days)
    }

    /// Strikes the marks of a day that was added up after they were read, but those that were made
    /// anew since. Returns whether all are struck.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn strike_day(&self, day: &MarkedDay) -> Result<bool, StoreError> {
        let mut all = true;
        for mark in &day.marks {
            let key = keys::day_mark(&day.customer, &day.day, &mark.session);
            let strike = || {
                // One that is gone was struck by another.
                Ok(Write::delete(key.clone()).when("attribute_not_exists(pk) OR id = :id").value(":id", s(&mark.id)))
            };
            all &= self.applied(strike).await?;
        }
        Ok(all)
    }
}

/// Adds a mark to the day that it is of.
fn add(days: &mut Vec<MarkedDay>, item: Item) -> Result<(), StoreError> {
    let key = sort_key(&item).to_owned();
    let parse = || {
        let mut parts = key.splitn(3, '#');
        let mut next = || parts.next();
        let day = next()?.to_owned();
        Some((day, next()?.parse::<CustomerId>().ok()?, next()?.parse::<EdgeSession>().ok()?))
    };
    let Some((day, customer, session)) = parse() else {
        return Err(StoreError::Corrupt { key, why: "not day#customer#session".to_owned() });
    };
    let MarkRow { id, passed } = decode(item)?;
    let mark = Mark { session, passed, id };
    match days.last_mut() {
        Some(last) if last.day == day && last.customer == customer => last.marks.push(mark),
        _ => days.push(MarkedDay { day, customer, marks: vec![mark] }),
    }
    Ok(())
}
