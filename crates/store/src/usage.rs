//! Daily counters: `USE#<customer>#<yyyy-mm> / <dd>#<line>#<proxy>#<session>`. One row has one
//! writer; its figures are cumulative, and a write applies if its sequence is higher. So any
//! repetition heals, and there is no transaction.

pub use tollgate_domain::daily::DayUsage;
use tollgate_domain::id::{CustomerId, EdgeSession, LineKey, LineLabel, ProxyId};

use crate::error::Failure;
use crate::expr::Write;
use crate::item::{Item, decode, encode, n, sort_key};
use crate::{Store, StoreError, Table, keys};

/// Whose row it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// UTC day, `yyyy-mm-dd`.
    pub day: String,
    /// Over which line.
    pub line: LineLabel,
    /// Over which proxy.
    pub proxy: ProxyId,
    /// Counted by which edge session.
    pub session: EdgeSession,
}

impl Store {
    /// Sets a row's figures if `usage.seq` is higher than the one stored. `false` if a higher or
    /// the same one is there: this write, or a later one, was applied.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn record_usage(
        &self,
        customer: &CustomerId,
        row: &UsageKey,
        usage: &DayUsage,
    ) -> Result<bool, StoreError> {
        let line = LineKey { customer: customer.clone(), label: row.line.clone() };
        let key = keys::usage_row(&line, &row.proxy.to_string(), &row.session, &row.day);
        let write = || {
            let item = encode(&key, usage, None)?;
            Ok(Write::put(key.clone(), item).when("attribute_not_exists(pk) OR seq < :seq").value(":seq", n(usage.seq)))
        };
        match self.write(write).await {
            Ok(_) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }

    /// All rows of a customer in a UTC month (`yyyy-mm`), in order of day.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage(&self, customer: &CustomerId, month: &str) -> Result<Vec<(UsageKey, DayUsage)>, StoreError> {
        self.usage_under(customer, month, "").await
    }

    /// All rows of a customer's on a UTC day (`yyyy-mm-dd`).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage_of_day(
        &self,
        customer: &CustomerId,
        day: &str,
    ) -> Result<Vec<(UsageKey, DayUsage)>, StoreError> {
        let (month, dd) = keys::month_and_day(day);
        self.usage_under(customer, month, &format!("{dd}#")).await
    }

    async fn usage_under(
        &self,
        customer: &CustomerId,
        month: &str,
        prefix: &str,
    ) -> Result<Vec<(UsageKey, DayUsage)>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::usage_month(customer, month), prefix).await?;
        items.into_iter().map(|item| Ok((usage_key(&item, month)?, decode(item)?))).collect()
    }
}

fn usage_key(item: &Item, month: &str) -> Result<UsageKey, StoreError> {
    let text = sort_key(item);
    let parse = || {
        let mut parts = text.splitn(4, '#');
        let mut next = || parts.next();
        Some(UsageKey {
            day: format!("{month}-{}", next()?),
            line: next()?.parse().ok()?,
            proxy: next()?.parse().ok()?,
            session: next()?.parse().ok()?,
        })
    };
    parse().ok_or_else(|| StoreError::Corrupt { key: text.to_owned(), why: "not day#line#proxy#session".to_owned() })
}
