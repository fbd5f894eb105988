//! Listed source addresses: which customer an address belongs to, as far as this edge knows.
//!
//! One item holds a block of addresses, so one read tells of an address whether anybody lists it.
//! What was read is kept until the feed says that it changed, or for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::allow::{AllowBlock, AllowEntry, Block};
use tollgate_domain::id::CustomerId;
use tollgate_domain::refusal::Refusal;
use tollgate_store::StoreError;

use crate::account::Account;
use crate::core::{Core, store_refusal};
use crate::tunnel::{CloseReason, Pass};

/// Blocks remembered at a time.
const MOST: usize = 65_536;
/// How long a block is believed without a word of the feed.
const KNOWN: Duration = Duration::from_secs(300);
/// How long it is believed that nobody lists anything there: strangers who knock often cost no
/// more reads than this.
const UNKNOWN: Duration = Duration::from_secs(10);
/// How often the store hears that an entry was used.
const SEEN: Duration = Duration::from_secs(3600);

struct Known {
    block: Option<Arc<AllowBlock>>,
    until: Instant,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Sources {
    blocks: Mutex<HashMap<Block, Known>>,
    /// Counts what was forgotten: who began to read before that may have read what is no more.
    forgotten: AtomicU64,
    seen: Mutex<HashMap<(CustomerId, String), Instant>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sources {
    /// The entry that `ip` is in; `None` if that must be looked up.
    #[allow(clippy::option_option)] // known to be in none is not unknown
    pub fn known(&self, ip: IpAddr) -> Option<Option<AllowEntry>> {
        let blocks = lock(&self.blocks);
        let known = blocks.get(&Block::of(ip)).filter(|k| Instant::now() < k.until)?;
        Some(known.block.as_ref().and_then(|b| b.find(ip).cloned()))
    }

    /// The entry that `ip` was in when the store last said, for a while more: it does not answer.
    pub fn extend(&self, ip: IpAddr) -> Option<AllowEntry> {
        let mut blocks = lock(&self.blocks);
        let known = blocks.get_mut(&Block::of(ip))?;
        let entry = known.block.as_ref().and_then(|b| b.find(ip).cloned())?;
        known.until = Instant::now() + UNKNOWN;
        Some(entry)
    }

    /// Looks it up anew from now on.
    pub fn forget(&self, block: &Block) {
        let mut blocks = lock(&self.blocks);
        self.forgotten.fetch_add(1, Ordering::Relaxed);
        blocks.remove(block);
    }

    /// Keeps what was read since `forgotten` stood so.
    fn remember(&self, key: Block, block: Option<AllowBlock>, forgotten: u64) {
        let mut blocks = lock(&self.blocks);
        if self.forgotten.load(Ordering::Relaxed) != forgotten {
            return;
        }
        let now = Instant::now();
        if blocks.len() >= MOST {
            blocks.retain(|_, k| now < k.until);
            if blocks.len() >= MOST {
                blocks.clear();
            }
        }
        let until = now + if block.is_some() { KNOWN } else { UNKNOWN };
        blocks.insert(key, Known { block: block.map(Arc::new), until });
    }

    /// Whether the store is to hear that an entry was used.
    fn is_news(&self, entry: &AllowEntry) -> bool {
        let mut seen = lock(&self.seen);
        let now = Instant::now();
        if seen.len() >= MOST {
            seen.clear();
        }
        let last = seen.insert((entry.customer.clone(), entry.net.to_string()), now);
        let news = last.is_none_or(|at| now.duration_since(at) >= SEEN);
        if let Some(at) = last.filter(|_| !news) {
            seen.insert((entry.customer.clone(), entry.net.to_string()), at);
        }
        news
    }
}

/// Ends the tunnels of an account that come from where they may not, of those sources that `which`
/// picks: its allow-list changed, or what it asks for. Runs on the control thread.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn enforce(
    core: &Arc<Core>,
    account: &Arc<Account>,
    which: impl Fn(IpAddr) -> bool,
) -> Result<(), StoreError> {
    let mode = account.profile().auth;
    let mut unlisted = Vec::new();
    for ip in account.tunnel_sources() {
        if which(ip) && mode.judge(true, false).and(mode.judge(false, false)).is_err() {
            let found = core.store.allow_block(&Block::of(ip)).await?;
            let listed = found.as_ref().and_then(|b| b.find(ip)).is_some_and(|e| e.customer == account.id);
            if !listed {
                unlisted.push(ip);
            }
        }
    }
    account.kill(|t| {
        let password = matches!(t.pass, Pass::Password { .. });
        let refused = which(t.source) && mode.judge(password, !unlisted.contains(&t.source)).is_err();
        refused.then_some(CloseReason::Source)
    });
    Ok(())
}

/// The entry that `ip` is in, read from the store. Runs on the control thread.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub(crate) async fn load(core: Arc<Core>, ip: IpAddr) -> Result<Option<AllowEntry>, Refusal> {
    let block = Block::of(ip);
    let forgotten = core.directory.sources.forgotten.load(Ordering::Relaxed);
    let found = core.store.allow_block(&block).await.map_err(|e| store_refusal(&e))?;
    let entry = found.as_ref().and_then(|b| b.find(ip).cloned());
    core.directory.sources.remember(block, found, forgotten);
    if let Some(entry) = entry.as_ref().filter(|e| core.directory.sources.is_news(e)) {
        let told = core.store.allow_seen(&entry.customer, &entry.net, core.clock.now()).await;
        if let Err(e) = told {
            // For people only; the next hour tells.
            tracing::debug!(customer = %entry.customer, error = %e, "use of a listed source not noted");
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use tollgate_domain::allow::AllowNet;
    use tollgate_domain::time::Timestamp;

    use super::*;

    #[test]
    fn what_is_listed_is_believed_longer_while_the_store_is_silent_and_what_is_not_is_not() {
        let (listed, unlisted) = (IpAddr::from([127, 0, 0, 9]), IpAddr::from([127, 0, 0, 8]));
        let entry = AllowEntry {
            net: AllowNet::of(listed),
            customer: "demo".parse().unwrap(),
            note: String::new(),
            created_at: Timestamp::default(),
        };
        let sources = Sources::default();
        let block = AllowBlock { ver: 1, entries: vec![entry.clone()] };
        sources.remember(Block::of(listed), Some(block), 0);
        lock(&sources.blocks).values_mut().for_each(|known| known.until = Instant::now());
        assert_eq!(sources.known(listed), None);
        assert_eq!(sources.extend(unlisted), None);
        assert_eq!(sources.known(listed), None, "an address beside it extends nothing");
        assert_eq!(sources.extend(listed), Some(entry.clone()));
        assert_eq!(sources.known(listed), Some(Some(entry)));
        sources.forget(&Block::of(listed));
        assert_eq!(sources.extend(listed), None);
    }
}
