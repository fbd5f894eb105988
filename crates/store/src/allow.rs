//! Listed sources: `ALLOWIP#<block> / BLOCK` holds all entries of all customers inside a block of
//! addresses, guarded by its version, so that one read finds whose an address is. Each entry
//! stands in its customer's list too (`ALLOWIPS#<customer> / <net>`), and is counted
//! (`ALLOWN#<customer> / COUNT`). When it was last used, edges say in `SEEN#<customer> / <net>`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tollgate_domain::allow::{AllowBlock, AllowEntry, AllowNet, Block, Listed, Unlistable};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::CustomerId;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{decode, encode, n, sort_key, value};
use crate::{Store, StoreError, Table, keys};

/// How often a block is computed again because another writer was faster.
const RACES: u32 = 16;
/// Position of the count in the transaction that adds an entry.
const COUNT: usize = 1;
/// An entry that no edge has seen for so long is forgotten: it was used "long ago, or never".
const SEEN_KEPT: Duration = Duration::from_secs(400 * 86_400);

/// What came of listing a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// It is listed now, or was by an earlier attempt of the same call.
    Added(AllowEntry),
    /// The customer had listed it before; only the note may be another now.
    Kept(AllowEntry),
    /// It overlaps with another customer's entry. Nothing changed.
    Taken,
    /// The customer has as many entries as it may. Nothing changed.
    TooMany,
    /// The block of addresses holds as many entries as one can. Nothing changed.
    BlockFull,
}

#[derive(Serialize, Deserialize)]
struct Seen {
    at: Timestamp,
}

impl Store {
    /// All entries inside a block; none were ever listed there if there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn allow_block(&self, block: &Block) -> Result<Option<AllowBlock>, StoreError> {
        self.read(&keys::allow_block(block)).await
    }

    /// A customer's entries, in order of their text.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn allow_list(&self, customer: &CustomerId) -> Result<Vec<AllowEntry>, StoreError> {
        let items = self.query_prefix(Table::Accounts, &keys::allow_list(customer), "").await?;
        items.into_iter().map(decode).collect()
    }

    /// Lists `entry`, if it overlaps with nobody else's and its customer has fewer than `max`, and
    /// tells the edges. Listing the same network again changes its note alone.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn allow_add(&self, entry: &AllowEntry, max: u32, now: Timestamp) -> Result<Allowed, StoreError> {
        let block = entry.net.block();
        for attempt in 0..RACES {
            let before = self.allow_block(&block).await?;
            let held = before.clone().unwrap_or_default();
            let (after, new) = match held.insert(entry) {
                Err(Unlistable::Taken) => return Ok(Allowed::Taken),
                Err(Unlistable::Full) => return Ok(Allowed::BlockFull),
                Ok(Listed::Added(after)) => (after, true),
                Ok(Listed::Noted(after)) => (after, false),
                Ok(Listed::Same) => {
                    let Some(listed) = held.entry(&entry.customer, &entry.net) else { break };
                    // Whole equality, its time included: our own write, whose answer was lost.
                    let ours = listed == entry;
                    return Ok(if ours { Allowed::Added(listed.clone()) } else { Allowed::Kept(listed.clone()) });
                }
            };
            let Some(listed) = after.entry(&entry.customer, &entry.net) else { break };
            let row = keys::allow_entry(&entry.customer, &entry.net);
            let writes = || {
                let mut writes = replace(&block, before.as_ref(), &after, now)?;
                if new {
                    let count = Write::update(keys::allow_count(&entry.customer), "ADD #n :one");
                    let fewer = count.when("attribute_not_exists(#n) OR #n < :max").name("#n", "entries");
                    writes.insert(COUNT, fewer.value(":one", n(1)).value(":max", n(max)));
                }
                writes.push(Write::put(row.clone(), encode(&row, listed, None)?));
                Ok(writes)
            };
            match self.transact(writes).await {
                Ok(()) if new => return Ok(Allowed::Added(listed.clone())),
                Ok(()) => return Ok(Allowed::Kept(listed.clone())),
                Err(Failure::Condition(failed)) if failed.iter().all(|(at, _)| *at == COUNT) => {
                    return Ok(Allowed::TooMany);
                }
                Err(Failure::Condition(_)) => crate::tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(StoreError::Unavailable(format!("block {block} keeps changing")))
    }

    /// Takes a customer's entry for exactly this network off the list and tells the edges. Returns
    /// it; none if there was none.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn allow_remove(
        &self,
        customer: &CustomerId,
        net: &AllowNet,
        now: Timestamp,
    ) -> Result<Option<AllowEntry>, StoreError> {
        let block = net.block();
        // What an attempt of this call tried to remove: gone afterwards means removed.
        let mut tried = None;
        for attempt in 0..RACES {
            let before = self.allow_block(&block).await?;
            let Some((after, removed)) = before.as_ref().and_then(|b| b.remove(customer, net)) else {
                return Ok(tried);
            };
            let writes = || {
                let mut writes = replace(&block, before.as_ref(), &after, now)?;
                let count = Write::update(keys::allow_count(customer), "ADD #n :less").name("#n", "entries");
                writes.push(count.value(":less", n(-1)));
                writes.push(Write::delete(keys::allow_entry(customer, net)));
                Ok(writes)
            };
            match self.transact(writes).await {
                Ok(()) => return Ok(Some(removed)),
                Err(Failure::Condition(_)) => crate::tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
            tried = Some(removed);
        }
        Err(StoreError::Unavailable(format!("block {block} keeps changing")))
    }

    /// Takes all entries of a customer off the list (its addresses are free for others again).
    /// Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn allow_clear(&self, customer: &CustomerId, now: Timestamp) -> Result<usize, StoreError> {
        let mut removed = 0;
        for entry in self.allow_list(customer).await? {
            let gone = Box::pin(self.allow_remove(customer, &entry.net, now)).await?;
            removed += usize::from(gone.is_some());
        }
        Ok(removed)
    }

    /// Says that an entry was used at `now`, unless a later use is known. Edges write it, at most
    /// hourly for each entry.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn allow_seen(&self, customer: &CustomerId, net: &AllowNet, now: Timestamp) -> Result<(), StoreError> {
        let key = keys::allow_seen(customer, net);
        let write = || {
            let item = encode(&key, &Seen { at: now }, Some(now.plus(SEEN_KEPT)))?;
            let later = Write::put(key.clone(), item).when("attribute_not_exists(pk) OR #at < :now").name("#at", "at");
            Ok(later.value(":now", value(&now)?))
        };
        match self.write(write).await {
            Ok(_) | Err(Failure::Condition(_)) => Ok(()),
            Err(e) => Err(e.into_store()),
        }
    }

    /// When the networks of a customer were last used. Networks that are listed no more may be
    /// among them, and so may uses from before a network was listed again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn allow_last_seen(
        &self,
        customer: &CustomerId,
        now: Timestamp,
    ) -> Result<BTreeMap<AllowNet, Timestamp>, StoreError> {
        let items = self.query_prefix(Table::Usage, &keys::allow_seen_list(customer), "").await?;
        let mut seen = BTreeMap::new();
        for item in items {
            let Ok(net) = sort_key(&item).parse::<AllowNet>() else { continue };
            let Seen { at } = decode(item)?;
            if now < at.plus(SEEN_KEPT) {
                seen.insert(net, at);
            }
        }
        Ok(seen)
    }
}

/// The writes that put `after` in the place of what was read, and tell the edges. A block without
/// entries stays: its version must not begin anew while edges remember a higher one.
fn replace(
    block: &Block,
    before: Option<&AllowBlock>,
    after: &AllowBlock,
    now: Timestamp,
) -> Result<Vec<Write>, Failure> {
    let key = keys::allow_block(block);
    let put = Write::put(key.clone(), encode(&key, after, None)?);
    let guarded = match before {
        None => put.when(ABSENT),
        Some(before) => put.when("ver = :ver").value(":ver", n(before.ver)),
    };
    Ok(vec![guarded, announce(&Entity::AllowBlock(*block), after.ver, now)?])
}
