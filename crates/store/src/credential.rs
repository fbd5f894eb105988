//! Credentials: `USER#<name> / CRED`, listed by customer under `CREDS#<customer>`.

use std::time::Duration;

use tollgate_domain::customer::{Credential, PreviousVerifier};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::{CustomerId, UserName};
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{decode, encode, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// What came of rotating a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The credential as it is now.
    Rotated(Box<Credential>),
    /// It is not at the version named: somebody else rotated it. Nothing changed.
    Stale,
    /// There is no such credential.
    NotFound,
}

/// The writes that make a credential: the item, its list entry, the word to the edges (which may
/// remember that there was no such user).
pub(crate) fn new_credential(credential: &Credential, now: Timestamp) -> Result<Vec<Write>, Failure> {
    let key = keys::credential(&credential.user);
    let entry = keys::credential_entry(&credential.customer, &credential.user);
    Ok(vec![
        Write::put(key.clone(), encode(&key, credential, None)?).when(ABSENT),
        Write::put(entry.clone(), entry.attributes()),
        announce(&Entity::Credential(credential.user.clone()), u64::from(credential.version), now)?,
    ])
}

impl Store {
    /// The credential with this user name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn credential(&self, user: &UserName) -> Result<Option<Credential>, StoreError> {
        self.read(&keys::credential(user)).await
    }

    /// A customer's credentials, in order of user name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn credentials(&self, customer: &CustomerId) -> Result<Vec<Credential>, StoreError> {
        let entries = self.query_prefix(Table::Accounts, &keys::credential_list(customer), "").await?;
        let users = entries.iter().filter_map(|item| UserName::new(sort_key(item)).ok()).collect::<Vec<_>>();
        let found = futures_util::future::try_join_all(users.iter().map(|user| self.credential(user))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Replaces the verifier of a credential that is at version `from` by that of the next
    /// version, and tells the edges. The old one still passes for `overlap` (zero = not at all).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_credential(
        &self,
        user: &UserName,
        from: u32,
        verifier: &str,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<Rotated, StoreError> {
        let Some(before) = self.credential(user).await? else { return Ok(Rotated::NotFound) };
        let mut after = before.clone();
        after.version = from.saturating_add(1);
        after.verifier = verifier.to_owned();
        after.previous = (!overlap.is_zero())
            .then(|| PreviousVerifier { verifier: before.verifier.clone(), until: now.plus(overlap) });
        if before.version != from {
            // The same rotation, done by an earlier attempt whose answer was lost.
            let ours = before.version == after.version && before.verifier == after.verifier;
            return Ok(if ours { Rotated::Rotated(Box::new(before)) } else { Rotated::Stale });
        }
        let key = keys::credential(user);
        let done = self
            .transact(|| {
                let item = encode(&key, &after, None)?;
                let at = value(&from)?;
                Ok(vec![
                    Write::put(key.clone(), item).when("#v = :from").name("#v", "version").value(":from", at),
                    announce(&Entity::Credential(user.clone()), u64::from(after.version), now)?,
                ])
            })
            .await;
        match done {
            Ok(()) => Ok(Rotated::Rotated(Box::new(after))),
            Err(Failure::Condition(failed)) => {
                let found = failed.into_iter().find_map(|(_, old)| old).map(decode::<Credential>).transpose()?;
                let ours = found.is_some_and(|c| c == after);
                Ok(if ours { Rotated::Rotated(Box::new(after)) } else { Rotated::Stale })
            }
            Err(e) => Err(e.into_store()),
        }
    }
}
