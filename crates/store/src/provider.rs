//! Providers: `PROVIDERS / <id>`. Few rows, read whole.

use tollgate_domain::country::Country;
use tollgate_domain::feed::Entity;
use tollgate_domain::id::ProviderId;
use tollgate_domain::provider::Provider;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::Write;
use crate::feed::announce;
use crate::item::{decode, encode, n, sort_key};
use crate::tables::TTL;
use crate::{Store, StoreError, Table, keys};

impl Store {
    /// The row of a provider.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn provider(&self, id: &ProviderId) -> Result<Option<Provider>, StoreError> {
        self.read(&keys::provider(id)).await
    }

    /// All rows, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn providers(&self) -> Result<Vec<Provider>, StoreError> {
        self.query_prefix(Table::Inventory, keys::PROVIDERS, "").await?.into_iter().map(decode).collect()
    }

    /// Writes a row and tells the edges, if the stored version is `row.ver - 1` (0 = none
    /// stored). `false`: somebody else wrote first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn put_provider(&self, row: &Provider, now: Timestamp) -> Result<bool, StoreError> {
        let key = keys::provider(&row.id);
        let entity = Entity::Provider(row.id.clone());
        let result = self
            .transact(|| {
                let put = Write::put(key.clone(), encode(&key, row, None)?)
                    .when("attribute_not_exists(pk) OR ver = :before")
                    .value(":before", n(row.ver.saturating_sub(1)));
                Ok(vec![put, announce(&entity, row.ver, now)?])
            })
            .await;
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(failed)) => {
                // Our own write whose acknowledgement was lost reads as a failed condition.
                let old = failed.into_iter().find_map(|(_, item)| item);
                Ok(old.map(decode::<Provider>).transpose()?.is_some_and(|p| &p == row))
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// Removes a row, if its version is still `ver`. `false`: it changed, or is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_provider(&self, id: &ProviderId, ver: u64, now: Timestamp) -> Result<bool, StoreError> {
        let entity = Entity::Provider(id.clone());
        let result = self
            .transact(|| {
                let delete = Write::delete(keys::provider(id)).when("ver = :ver").value(":ver", n(ver));
                Ok(vec![delete, announce(&entity, ver + 1, now)?])
            })
            .await;
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Countries in which `provider` said "out of stock", still remembered at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn out_of_stock(&self, provider: &ProviderId, now: Timestamp) -> Result<Vec<Country>, StoreError> {
        let items = self.query_prefix(Table::Inventory, &keys::no_stock_list(provider), "").await?;
        let fresh = |i: &&crate::item::Item| {
            let until = i.get(TTL).and_then(|v| v.as_n().ok()).and_then(|t| t.parse::<u64>().ok());
            until.is_some_and(|t| t > now.as_secs())
        };
        Ok(items.iter().filter(fresh).filter_map(|i| Country::parse(sort_key(i))).collect())
    }
}
