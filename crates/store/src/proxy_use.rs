//! What proxies carried: `PROXYUSE#<provider>/<ip> / <customer>#<session>`, summed when it is read. One
//! row has one writer, its figures are cumulative, and a write applies if its sequence is higher: so any
//! repetition heals. For people to look at: invoices count the daily rows.

use serde::{Deserialize, Serialize};
use tollgate_domain::id::{CustomerId, EdgeSession, ProxyId};
use tollgate_domain::time::Timestamp;

use crate::expr::Write;
use crate::item::{decode, encode, n, sort_key};
use crate::{Store, StoreError, Table, keys};

/// What one session carried for one customer over one proxy. Cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyUse {
    /// Counts the row's writes.
    pub seq: u64,
    /// Bytes of both directions, as the daily rows have them.
    pub bytes: u64,
    /// When it was last known to be in use.
    pub last_at: Timestamp,
    /// Tunnels that are open. Of a session that lives no more it says nothing.
    pub open: u32,
}

/// A proxy's row, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUser {
    /// For whom.
    pub customer: CustomerId,
    /// By which session.
    pub session: EdgeSession,
    /// How much.
    pub used: ProxyUse,
}

impl Store {
    /// Sets a row's figures if `used.seq` is higher than the one stored. `false` if a higher or the
    /// same one is there: this write, or a later one, was applied.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn record_proxy_use(
        &self,
        proxy: &ProxyId,
        customer: &CustomerId,
        session: &EdgeSession,
        used: &ProxyUse,
    ) -> Result<bool, StoreError> {
        let key = keys::proxy_use(proxy, customer, session);
        let write = || {
            Ok(Write::put(key.clone(), encode(&key, used, None)?)
                .when("attribute_not_exists(pk) OR seq < :seq")
                .value(":seq", n(used.seq)))
        };
        self.applied(write).await
    }

    /// What `session` told of a proxy and a customer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proxy_use(
        &self,
        proxy: &ProxyId,
        customer: &CustomerId,
        session: &EdgeSession,
    ) -> Result<Option<ProxyUse>, StoreError> {
        self.read(&keys::proxy_use(proxy, customer, session)).await
    }

    /// All that was told of a proxy, in order of customer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proxy_users(&self, proxy: &ProxyId) -> Result<Vec<ProxyUser>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::proxy_use_list(proxy), "").await?;
        let read = items.into_iter().map(|item| {
            let key = sort_key(&item).to_owned();
            let parts = key.split_once('#').and_then(|(c, s)| Some((c.parse().ok()?, s.parse().ok()?)));
            let Some((customer, session)) = parts else {
                return Err(StoreError::Corrupt { key, why: "not customer#session".to_owned() });
            };
            Ok(ProxyUser { customer, session, used: decode(item)? })
        });
        read.collect()
    }
}
