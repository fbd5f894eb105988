//! Customers: `CUST#<id> / PROFILE`, listed under `CUSTS#<shard>`.

use tollgate_domain::customer::{AuthMode, Ban, Credential, Customer};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::CustomerId;
use tollgate_domain::plan::{Limits, Plan};
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{Key, decode, encode, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// How often a change is computed again because another writer was faster.
const RACES: u32 = 16;

/// What came of making a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// Made now, or by an earlier attempt of the same call.
    Created,
    /// There is another customer with this id. Nothing changed.
    IdTaken,
    /// There is another credential with this user name. Nothing changed.
    UserTaken,
}

/// A customer before and after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// As found.
    pub before: Customer,
    /// As it is now.
    pub after: Customer,
}

impl Store {
    /// The customer, deleted ones included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn customer(&self, id: &CustomerId) -> Result<Option<Customer>, StoreError> {
        self.read(&keys::customer(id)).await
    }

    /// At most `limit` customers with ids after `after`, in order of id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn customers(&self, after: Option<&CustomerId>, limit: usize) -> Result<Vec<Customer>, StoreError> {
        // '!' sorts before every character of an id.
        let from = after.map_or_else(|| "!".to_owned(), |id| format!("{id}!"));
        let shards = (0..keys::SHARDS).map(|n| {
            let from = &from;
            async move { self.query(Table::Accounts, &keys::customer_list(n), from, "~", Some(limit)).await }
        });
        let lists = futures_util::future::try_join_all(shards).await?;
        let mut ids = lists.iter().flatten().map(|item| sort_key(item).to_owned()).collect::<Vec<_>>();
        ids.sort_unstable();
        ids.truncate(limit);
        let ids = ids.into_iter().filter_map(|id| CustomerId::new(id).ok()).collect::<Vec<_>>();
        let profiles = ids.iter().map(|id| self.customer(id));
        Ok(futures_util::future::try_join_all(profiles).await?.into_iter().flatten().collect())
    }

    /// Makes a customer with its first credential, in one transaction, if neither the id nor the
    /// user name is taken.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_customer(
        &self,
        customer: &Customer,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Created, StoreError> {
        let profile = keys::customer(&customer.id);
        let entry = keys::customer_entry(&customer.id);
        let made = self
            .transact(|| {
                let mut writes = vec![
                    Write::put(profile.clone(), encode(&profile, customer, None)?).when(ABSENT),
                    Write::put(entry.clone(), entry.attributes()),
                ];
                writes.extend(crate::credential::new_credential(credential, now)?);
                Ok(writes)
            })
            .await;
        match made {
            Ok(()) => Ok(Created::Created),
            Err(Failure::Condition(failed)) => {
                let Some((_, old)) = failed.into_iter().find(|(n, _)| *n == 0) else { return Ok(Created::UserTaken) };
                let ours = old.map(decode::<Customer>).transpose()?.is_some_and(|c| c == *customer);
                Ok(if ours { Created::Created } else { Created::IdTaken })
            }
            Err(e) => Err(e.into_store()),
        }
    }

    /// Changes a customer as `change` says, counts the version up and tells the edges. A change
    /// that changes nothing writes nothing. `change` runs again on what another writer left.
    /// None if there is no such customer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn change_customer(
        &self,
        id: &CustomerId,
        now: Timestamp,
        change: impl Fn(&mut Customer) + Send + Sync,
    ) -> Result<Option<Changed>, StoreError> {
        let key = keys::customer(id);
        for attempt in 0..RACES {
            let Some(before) = self.customer(id).await? else { return Ok(None) };
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok(Some(Changed { before, after }));
            }
            after.ver = before.ver + 1;
            match self.transact(|| replace(&key, &before, &after, now)).await {
                Ok(()) => return Ok(Some(Changed { before, after })),
                Err(Failure::Condition(failed)) => {
                    let found = failed.into_iter().find_map(|(_, old)| old).map(decode::<Customer>).transpose()?;
                    if found.is_some_and(|c| c == after) {
                        // Our own write, whose answer was lost.
                        return Ok(Some(Changed { before, after }));
                    }
                    crate::tx::pause(attempt).await;
                }
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("customer {id} keeps changing")))
    }

    /// Bans a customer; live tunnels close. A ban that stands is kept as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ban_customer(&self, id: &CustomerId, ban: Ban, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| {
            c.ban.get_or_insert_with(|| ban.clone());
        })
        .await
    }

    /// Ends a ban.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unban_customer(&self, id: &CustomerId, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| c.ban = None).await
    }

    /// Closes all tunnels that were opened before `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn kick_customer(&self, id: &CustomerId, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| c.kicked_at = c.kicked_at.max(Some(now))).await
    }

    /// Locks a customer out until then; live tunnels close. A longer lock that stands is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lock_customer(
        &self,
        id: &CustomerId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| c.locked_until = c.locked_until.max(Some(until))).await
    }

    /// Moves a customer to a plan, with the plan's limits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_plan(&self, id: &CustomerId, plan: &Plan, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| {
            c.plan.clone_from(&plan.code);
            c.plan_ver = plan.ver;
            c.limits = plan.limits.clone();
        })
        .await
    }

    /// Gives a customer limits of its own, beside its plan (a contract).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_limits(
        &self,
        id: &CustomerId,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| c.limits = limits.clone()).await
    }

    /// Changes what a customer's tunnels show to pass.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_auth(
        &self,
        id: &CustomerId,
        auth: AuthMode,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| c.auth = auth).await
    }

    /// Moves the end of a customer's plan; none = it does not end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn extend_customer(
        &self,
        id: &CustomerId,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| c.expires_at = expires_at).await
    }

    /// Marks a customer deleted; its id and user names stay taken, its money rows stay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_customer(&self, id: &CustomerId, now: Timestamp) -> Result<Option<Changed>, StoreError> {
        self.change_customer(id, now, |c| {
            c.deleted_at.get_or_insert(now);
        })
        .await
    }
}

/// Puts `after` in the place of `before`, if nobody changed that, and tells the edges.
pub(crate) fn replace(key: &Key, before: &Customer, after: &Customer, now: Timestamp) -> Result<Vec<Write>, Failure> {
    Ok(vec![
        Write::put(key.clone(), encode(key, after, None)?).when("ver = :ver").value(":ver", value(&before.ver)?),
        announce(&Entity::Customer(after.id.clone()), after.ver, now)?,
    ])
}
