//! Bought addresses: `IP#<provider> / <ip>`, their free list and the list of what is due.
//!
//! An address that nobody holds is three items, written and removed together: its row (`idle`),
//! its entry in the free list of its country and class, and a reminder of its release.

use serde::{Deserialize, Serialize};
use tollgate_domain::country::Country;
use tollgate_domain::id::{LineKey, ProviderId, ProxyId};
use tollgate_domain::proxy::{ProxyClass, ProxyIp, ProxyState};
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, PRESENT, Write};
use crate::item::{decode, encode, n, s, sort_key};
use crate::{Store, StoreError, Table, keys};

/// How long the row of a released address is kept, for the record.
const RELEASED_KEPT: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);

/// An entry of a free list: all that a claim needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeProxy {
    /// Which address.
    pub id: ProxyId,
    /// Its country.
    pub country: Country,
    /// Its class.
    pub class: ProxyClass,
    /// Since when it is idle.
    pub idle_since: Timestamp,
    /// When its release is due.
    pub due: Timestamp,
    /// 0–100.
    pub health: u8,
    /// The line that held it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_line: Option<LineKey>,
}

/// A reminder of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueProxy {
    /// Which address.
    pub id: ProxyId,
    /// When it was due.
    pub at: Timestamp,
}

/// The writes that make `proxy` (as it was read) idle and free.
pub(crate) fn go_idle(
    proxy: &ProxyIp,
    now: Timestamp,
    due: Timestamp,
    paid_until: Timestamp,
) -> Result<Vec<Write>, Failure> {
    let row = Write::update(
        keys::proxy(&proxy.id),
        "SET #state = :idle, ver = ver + :one, idle_since = :now, due = :due, paid_until = :paid",
    )
    .when("#state = :active AND ver = :ver")
    .name("#state", "state")
    .value(":idle", s("idle"))
    .value(":active", s("active"))
    .value(":ver", n(proxy.ver))
    .value(":one", n(1))
    .value(":now", n(now.as_millis()))
    .value(":due", n(due.as_millis()))
    .value(":paid", n(paid_until.as_millis()));
    let mut writes = free_entries(proxy, now, due)?;
    writes.insert(0, row);
    Ok(writes)
}

/// The free-list entry and the reminder of an idle address.
pub(crate) fn free_entries(proxy: &ProxyIp, idle_since: Timestamp, due: Timestamp) -> Result<Vec<Write>, Failure> {
    let entry = FreeProxy {
        id: proxy.id.clone(),
        country: proxy.country,
        class: proxy.class,
        idle_since,
        due,
        health: proxy.health,
        last_line: proxy.line.clone(),
    };
    let key = keys::free(proxy.country, proxy.class, &proxy.id);
    let item = encode(&key, &entry, None)?;
    Ok(vec![Write::put(key, item).when(ABSENT), remind(&proxy.id, due)])
}

/// The writes that take `free` out of the free list for `line`.
pub(crate) fn take_free(free: &FreeProxy, line: &LineKey) -> Vec<Write> {
    let row = Write::update(
        keys::proxy(&free.id),
        "SET #state = :active, ver = ver + :one, recycled = recycled + :one, #line = :line REMOVE idle_since, due",
    )
    .when("#state = :idle")
    .name("#state", "state")
    .name("#line", "line")
    .value(":active", s("active"))
    .value(":idle", s("idle"))
    .value(":one", n(1))
    .value(":line", crate::item::line_value(line));
    vec![
        Write::delete(keys::free(free.country, free.class, &free.id)).when(PRESENT),
        row,
        Write::delete(keys::proxy_due(&free.id, free.due)),
    ]
}

fn remind(id: &ProxyId, at: Timestamp) -> Write {
    let key = keys::proxy_due(id, at);
    let item = key.attributes();
    Write::put(key, item)
}

/// The write that makes `proxy` ours, unless its row says that it already is.
pub(crate) fn own(proxy: &ProxyIp) -> Result<Write, Failure> {
    let key = keys::proxy(&proxy.id);
    let item = encode(&key, proxy, None)?;
    Ok(Write::put(key, item)
        .when("attribute_not_exists(pk) OR #state IN (:released, :lost)")
        .name("#state", "state")
        .value(":released", s("released"))
        .value(":lost", s("lost")))
}

impl Store {
    /// A bought address.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proxy(&self, id: &ProxyId) -> Result<Option<ProxyIp>, StoreError> {
        self.read(&keys::proxy(id)).await
    }

    /// All addresses of a provider, held and released.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proxies(&self, provider: &ProviderId) -> Result<Vec<ProxyIp>, StoreError> {
        self.query_prefix(Table::Inventory, &keys::proxy_list(provider), "").await?.into_iter().map(decode).collect()
    }

    /// Up to `limit` entries of a free list, from a start that `start` (any number) chooses,
    /// wrapping. Empty means that the list was empty at some instant during the call.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn free_proxies(
        &self,
        country: Country,
        class: ProxyClass,
        start: u32,
        limit: usize,
    ) -> Result<Vec<FreeProxy>, StoreError> {
        let list = keys::free_list(country, class);
        let from = format!("{start:08x}");
        // Both parts at once: a claim is one wave later, not two.
        let (mut items, before) = tokio::try_join!(
            self.query(Table::Inventory, &list, &from, "~", Some(limit)),
            self.query(Table::Inventory, &list, "0", &from, Some(limit)),
        )?;
        items.extend(before);
        items.truncate(limit);
        items.into_iter().map(decode).collect()
    }

    /// Reminders of addresses due at `now` or before, of one shard, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn due_proxies(&self, shard: u8, now: Timestamp, limit: usize) -> Result<Vec<DueProxy>, StoreError> {
        let end = format!("{}~", keys::sortable(now));
        let items = self.query(Table::Inventory, &keys::proxy_due_list(shard), "0", &end, Some(limit)).await?;
        let parse = |sk: &str| {
            let (at, id) = sk.split_once('#')?;
            Some(DueProxy { id: id.parse().ok()?, at: Timestamp::from_millis(at.parse().ok()?) })
        };
        Ok(items.iter().filter_map(|i| parse(sort_key(i))).collect())
    }

    /// Drops a reminder that its address no longer means.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn drop_due_proxy(&self, due: &DueProxy) -> Result<(), StoreError> {
        let gone = self.write(|| Ok(Write::delete(keys::proxy_due(&due.id, due.at)))).await;
        gone.map(|_| ()).map_err(Failure::into_store)
    }

    /// Takes an idle address out of the pool for good: `idle → releasing`, if it is still idle
    /// and due at `now`. It is looked at again at `retry_at`. `false`: it was claimed, or
    /// somebody else releases it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_release(
        &self,
        proxy: &ProxyIp,
        now: Timestamp,
        retry_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let due = proxy.due.unwrap_or(now);
        let result = self
            .transact(|| {
                let row =
                    Write::update(keys::proxy(&proxy.id), "SET #state = :releasing, ver = ver + :one, due = :retry")
                        .when("#state = :idle AND due <= :now")
                        .name("#state", "state")
                        .value(":releasing", s("releasing"))
                        .value(":idle", s("idle"))
                        .value(":one", n(1))
                        .value(":now", n(now.as_millis()))
                        .value(":retry", n(retry_at.as_millis()));
                Ok(vec![
                    row,
                    Write::delete(keys::free(proxy.country, proxy.class, &proxy.id)).when(PRESENT),
                    Write::delete(keys::proxy_due(&proxy.id, due)),
                    remind(&proxy.id, retry_at),
                ])
            })
            .await;
        match result {
            Ok(()) => Ok(true),
            // A lost acknowledgement reads the same; the reminder brings the address back.
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }

    /// `releasing → released`: the provider does not bill it any more.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn end_release(&self, proxy: &ProxyIp, now: Timestamp) -> Result<bool, StoreError> {
        let due = proxy.due.unwrap_or(now);
        let result = self
            .transact(|| {
                let row = Write::update(
                    keys::proxy(&proxy.id),
                    "SET #state = :released, ver = ver + :one, released_at = :now, #ttl = :ttl REMOVE due",
                )
                .when("#state = :releasing")
                .name("#state", "state")
                .name("#ttl", crate::tables::TTL)
                .value(":releasing", s("releasing"))
                .value(":released", s("released"))
                .value(":one", n(1))
                .value(":now", n(now.as_millis()))
                .value(":ttl", n(now.plus(RELEASED_KEPT).as_secs()));
                Ok(vec![row, Write::delete(keys::proxy_due(&proxy.id, due))])
            })
            .await;
        self.settled_release(result, proxy, ProxyState::Released).await
    }

    /// A release failed: it is tried again at `retry_at`. Never back to the pool.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn postpone_release(&self, proxy: &ProxyIp, retry_at: Timestamp) -> Result<bool, StoreError> {
        let due = proxy.due.unwrap_or(retry_at);
        let result = self
            .transact(|| {
                let row = Write::update(
                    keys::proxy(&proxy.id),
                    "SET ver = ver + :one, due = :retry, release_failures = release_failures + :one",
                )
                .when("#state = :releasing AND ver = :ver")
                .name("#state", "state")
                .value(":releasing", s("releasing"))
                .value(":ver", n(proxy.ver))
                .value(":one", n(1))
                .value(":retry", n(retry_at.as_millis()));
                let mut writes = vec![row, remind(&proxy.id, retry_at)];
                if due != retry_at {
                    writes.push(Write::delete(keys::proxy_due(&proxy.id, due)));
                }
                Ok(writes)
            })
            .await;
        self.settled_release(result, proxy, ProxyState::Releasing).await
    }

    async fn settled_release(
        &self,
        result: Result<(), Failure>,
        proxy: &ProxyIp,
        reached: ProxyState,
    ) -> Result<bool, StoreError> {
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(self.proxy(&proxy.id).await?.is_some_and(|p| p.state == reached)),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Takes in an address that the provider lists and no intent explains: idle, due as `proxy`
    /// says. `false`: it is already ours.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn adopt(&self, proxy: &ProxyIp) -> Result<bool, StoreError> {
        let since = proxy.idle_since.unwrap_or(proxy.purchased_at);
        let due = proxy.due.unwrap_or(since);
        let result = self
            .transact(|| {
                let mut writes = vec![own(proxy)?];
                writes.extend(free_entries(proxy, since, due)?);
                Ok(writes)
            })
            .await;
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }
}
