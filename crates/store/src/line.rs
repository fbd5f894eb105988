//! Lines: `LINE#<customer> / <label>`, their count, and the list of those that close by
//! themselves.
//!
//! Every write counts up `ver`. A due entry is a reminder, not a fact: whoever finds one looks
//! at the line before acting, and drops entries that the line no longer means.

use tollgate_domain::id::{CustomerId, EdgeSession, LineKey};
use tollgate_domain::line::Line;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::Write;
use crate::item::{decode, n, s, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// How a change of a line's open tunnels ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineMark {
    /// Written (now, or earlier by a call whose answer was lost).
    Done,
    /// The line is not open (any more).
    Closed,
}

/// How many shards [`Store::due_lines`] and [`Store::due_proxies`] have.
pub const DUE_SHARDS: u8 = keys::SHARDS;

/// The shape of a due entry's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueLine {
    /// Which line.
    pub line: LineKey,
    /// When it was due.
    pub at: Timestamp,
}

/// The write that reminds of `line` at `at`.
pub(crate) fn remind(line: &LineKey, at: Timestamp) -> Write {
    let key = keys::line_due(line, at);
    let item = key.attributes();
    Write::put(key, item)
}

impl Store {
    /// A line.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn line(&self, key: &LineKey) -> Result<Option<Line>, StoreError> {
        self.read(&keys::line(key)).await
    }

    /// All lines of a customer, open and closed, by label.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lines(&self, customer: &CustomerId) -> Result<Vec<Line>, StoreError> {
        self.query_prefix(Table::Accounts, &keys::line_list(customer), "").await?.into_iter().map(decode).collect()
    }

    /// Marks that `session` has tunnels on the line (0 → 1), if the line is open. Remembered in
    /// the session's roster, so that the next epoch of the edge can undo it after a crash.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn line_opened(
        &self,
        line: &LineKey,
        session: &EdgeSession,
        now: Timestamp,
    ) -> Result<LineMark, StoreError> {
        let result = self
            .transact(|| {
                let mark = Write::update(keys::line(line), "SET #open.#e = :now, ver = ver + :one REMOVE close_due")
                    .when("#state = :open")
                    .name("#open", "open")
                    .name("#e", session.to_string())
                    .name("#state", "state")
                    .value(":open", s("open"))
                    .value(":now", n(now.as_millis()))
                    .value(":one", n(1));
                let key = keys::roster_line(session, line);
                let item = key.attributes();
                Ok(vec![mark, Write::put(key, item)])
            })
            .await;
        match result {
            Ok(()) => Ok(LineMark::Done),
            Err(Failure::Condition(_)) => Ok(LineMark::Closed),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Marks that `session` has no tunnel on the line any more (1 → 0). If no other edge has
    /// one, the line closes by itself when its hold ends.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn line_quiet(
        &self,
        line: &LineKey,
        session: &EdgeSession,
        now: Timestamp,
    ) -> Result<LineMark, StoreError> {
        for attempt in 0..10 {
            let Some(found) = self.line(line).await? else { return Ok(LineMark::Closed) };
            if !found.open.contains_key(session) {
                self.forget_roster_line(session, line).await?;
                return Ok(LineMark::Done);
            }
            let due = (found.open.len() == 1).then(|| found.due_after_quiet(now)).flatten();
            let result = self
                .transact(|| {
                    let set = due.map_or("", |_| ", close_due = :due");
                    let expression = format!("SET ver = ver + :one{set} REMOVE #open.#e");
                    let mut mark = Write::update(keys::line(line), expression)
                        .when("ver = :ver")
                        .name("#open", "open")
                        .name("#e", session.to_string())
                        .value(":ver", n(found.ver))
                        .value(":one", n(1));
                    let mut writes = vec![Write::delete(keys::roster_line(session, line))];
                    if let Some(at) = due {
                        mark = mark.value(":due", n(at.as_millis()));
                        writes.push(remind(line, at));
                    }
                    writes.push(mark);
                    Ok(writes)
                })
                .await;
            match result {
                Ok(()) => return Ok(LineMark::Done),
                Err(Failure::Condition(_)) => crate::tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("line {line} kept changing")))
    }

    /// Lines on which `session` had tunnels.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn roster_lines(&self, session: &EdgeSession) -> Result<Vec<LineKey>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::roster_list(session), keys::ROSTER_LINE).await?;
        Ok(items.iter().filter_map(|i| sort_key(i).strip_prefix(keys::ROSTER_LINE)?.parse().ok()).collect())
    }

    async fn forget_roster_line(&self, session: &EdgeSession, line: &LineKey) -> Result<(), StoreError> {
        let gone = self.write(|| Ok(Write::delete(keys::roster_line(session, line)))).await;
        gone.map(|_| ()).map_err(Failure::into_store)
    }

    /// Reminders of lines that were due at `now` or before, of one shard, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due_lines(&self, shard: u8, now: Timestamp, limit: usize) -> Result<Vec<DueLine>, StoreError> {
        let end = format!("{}~", keys::sortable(now));
        let items = self.query(Table::Accounts, &keys::line_due_list(shard), "0", &end, Some(limit)).await?;
        let parse = |sk: &str| {
            let (at, line) = sk.split_once('#')?;
            Some(DueLine { line: line.parse().ok()?, at: Timestamp::from_millis(at.parse().ok()?) })
        };
        Ok(items.iter().filter_map(|i| parse(sort_key(i))).collect())
    }

    /// Drops a reminder.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn drop_due_line(&self, due: &DueLine) -> Result<(), StoreError> {
        let gone = self.write(|| Ok(Write::delete(keys::line_due(&due.line, due.at)))).await;
        gone.map(|_| ()).map_err(Failure::into_store)
    }

    /// Ends a session line at `now` (it owns no proxy). `false`: it changed meanwhile.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_session(&self, line: &Line, now: Timestamp) -> Result<bool, StoreError> {
        let result = self.transact(|| Ok(vec![closed(line, now)?, count(&line.key.customer, true, -1, 0)])).await;
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }
}

/// The write that counts `by` more open lines or sessions, if the sum stays within `max`
/// (0 = unlimited; not checked when counting down).
pub(crate) fn count(customer: &CustomerId, session: bool, by: i8, max: u32) -> Write {
    let write = Write::update(keys::line_count(customer), "ADD #n :by")
        .name("#n", if session { "sessions" } else { "lines" })
        .value(":by", n(by));
    if by > 0 && max > 0 {
        return write.when("attribute_not_exists(#n) OR #n < :max").value(":max", n(max));
    }
    write
}

/// The write that closes `line`, if it is still as it was read.
pub(crate) fn closed(line: &Line, now: Timestamp) -> Result<Write, Failure> {
    let none = std::collections::BTreeMap::<String, u64>::new();
    Ok(Write::update(
        keys::line(&line.key),
        "SET #state = :closed, #open = :none, closed_at = :now, ver = ver + :one REMOVE close_due",
    )
    .when("ver = :ver AND #state = :open")
    .name("#state", "state")
    .name("#open", "open")
    .value(":closed", s("closed"))
    .value(":open", s("open"))
    .value(":none", value(&none)?)
    .value(":now", n(now.as_millis()))
    .value(":ver", n(line.ver))
    .value(":one", n(1)))
}
