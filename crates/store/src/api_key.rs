//! API keys: `KEY#<SHA-256 of the key> / KEY`, listed by holder under `KEYS#<holder>`. The key
//! itself is stored nowhere.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tollgate_domain::id::CustomerId;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, PRESENT, Write};
use crate::item::{decode, encode, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, and changes customers, their credentials and keys.
    Operator,
    /// Everything: providers and plans too.
    Owner,
}

/// What a customer's key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Opens and closes lines.
    #[serde(rename = "assignments:write")]
    AssignmentsWrite,
    /// Sees lines and what serves them.
    #[serde(rename = "assignments:read")]
    AssignmentsRead,
    /// Sees proxy URLs, with their passwords.
    #[serde(rename = "proxies:read")]
    ProxiesRead,
    /// Sees the account and its usage.
    #[serde(rename = "account:read")]
    AccountRead,
    /// Lists and unlists source addresses, from which tunnels pass without a password.
    #[serde(rename = "ips:write")]
    IpsWrite,
}

impl Scope {
    /// All of them: what a key has unless it is made with fewer.
    pub const ALL: [Self; 5] =
        [Self::AssignmentsWrite, Self::AssignmentsRead, Self::ProxiesRead, Self::AccountRead, Self::IpsWrite];
}

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Holder {
    /// An operator, or a program of theirs.
    Admin {
        /// Who.
        name: String,
        /// What they may do.
        role: Role,
    },
    /// A customer.
    Customer {
        /// Which.
        id: CustomerId,
        /// What the key may do.
        scopes: Vec<Scope>,
    },
}

/// A key as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Hex of SHA-256 of the key.
    pub hash: String,
    /// Who holds it.
    pub holder: Holder,
    /// The last four characters of the key, for people.
    pub last4: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceased to pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Length of [`ApiKey::id`].
const ID_LEN: usize = 16;

impl ApiKey {
    /// The row for `key`, held by `holder`.
    #[must_use]
    pub fn new(key: &str, holder: Holder, now: Timestamp) -> Self {
        let tail = key.char_indices().rev().nth(3).map_or("", |(at, _)| &key[at..]);
        Self { hash: hash(key), holder, last4: tail.to_owned(), created_at: now, revoked_at: None }
    }

    /// What people call the key by: the start of its hash. Useless to guess the key.
    #[must_use]
    pub fn id(&self) -> &str {
        self.hash.get(..ID_LEN).unwrap_or(&self.hash)
    }
}

/// What a key is stored under: hex of its SHA-256. Keys are random, so no salt is needed.
#[must_use]
pub fn hash(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

impl Store {
    /// The key stored under this hash, revoked ones included.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn api_key(&self, hash: &str) -> Result<Option<ApiKey>, StoreError> {
        self.read(&keys::api_key(hash)).await
    }

    /// Writes a key and its list entry if there is none under its hash: also the way to make
    /// sure that a seeded key is there. Returns the key that is there now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_api_key(&self, key: &ApiKey) -> Result<ApiKey, StoreError> {
        let at = keys::api_key(&key.hash);
        let entry = keys::api_key_entry(&key.holder, &key.hash);
        let made = self
            .transact(|| {
                Ok(vec![
                    Write::put(at.clone(), encode(&at, key, None)?).when(ABSENT),
                    Write::put(entry.clone(), entry.attributes()),
                ])
            })
            .await;
        match made {
            Ok(()) => Ok(key.clone()),
            Err(Failure::Condition(failed)) => match failed.into_iter().find_map(|(_, old)| old) {
                Some(old) => decode(old),
                None => Err(StoreError::Unavailable("the key that is in the way was not told".to_owned())),
            },
            Err(e) => Err(e.into_store()),
        }
    }

    /// The keys of a holder, in order of hash.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn api_keys(&self, holder: &Holder) -> Result<Vec<ApiKey>, StoreError> {
        let entries = self.query_prefix(Table::Accounts, &keys::api_key_list(holder), "").await?;
        let found = futures_util::future::try_join_all(entries.iter().map(|item| self.api_key(sort_key(item)))).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Ends a key; one that has ended keeps its time. None if there is no such key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_api_key(&self, hash: &str, now: Timestamp) -> Result<Option<ApiKey>, StoreError> {
        let done = self
            .write(|| {
                Ok(Write::update(keys::api_key(hash), "SET revoked_at = if_not_exists(revoked_at, :now)")
                    .when(PRESENT)
                    .value(":now", value(&now)?))
            })
            .await;
        match done {
            Ok(new) => new.map(decode).transpose(),
            Err(Failure::Condition(_)) => Ok(None),
            Err(e) => Err(e.into_store()),
        }
    }
}
