//! The source stories: list and unlist the addresses a customer's tunnels may come from, find
//! whose an address is.

use std::net::IpAddr;

use serde_json::json;
use tollgate_domain::allow::{AllowEntry, AllowNet, Block};
use tollgate_domain::customer::{Customer, Standing};
use tollgate_domain::id::CustomerId;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::time::Timestamp;
use tollgate_store::allow::Allowed;

use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::{By, NOTHING};

/// A listed source, and when an edge last saw it.
pub struct Source {
    /// The entry.
    pub entry: AllowEntry,
    /// Within the hour; none = not since it was listed.
    pub last_used_at: Option<Timestamp>,
}

/// A customer's listed sources.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn list(platform: &Platform, customer: &CustomerId) -> Result<Vec<Source>, Refusal> {
    let db = &platform.store;
    let (entries, seen) =
        futures_util::future::try_join(db.allow_list(customer), db.allow_last_seen(customer, platform.now()))
            .await
            .map_err(store)?;
    let with_use = |entry: AllowEntry| {
        // What an earlier entry for the same network was used for is not this one's.
        let last_used_at = seen.get(&entry.net).copied().filter(|at| *at >= entry.created_at);
        Source { entry, last_used_at }
    };
    Ok(entries.into_iter().map(with_use).collect())
}

/// Lists `net` as a source of `customer`. `true` = it is new; one that was listed gets the note.
///
/// # Errors
/// `VALIDATION` for a range that is nobody's source; `BANNED`; `CONFLICT` if another customer
/// listed one of its addresses, or if the list is full; `STORE_UNAVAILABLE`.
pub async fn add(
    platform: &Platform,
    by: &By,
    customer: &Customer,
    net: AllowNet,
    note: String,
) -> Result<(AllowEntry, bool), Refusal> {
    net.check_source(platform.bounds.private_sources)
        .map_err(|e| Refusal::new(Code::Validation, format!("net: {e}")))?;
    // Nobody who may not pass takes addresses away from others.
    if customer.standing(by.at) == Standing::Banned {
        return Err(Refusal::new(Code::Banned, "this customer is banned"));
    }
    let most = customer.limits.max_allow_entries();
    let entry = AllowEntry { net, customer: customer.id.clone(), note, created_at: by.at };
    let (entry, new) = match Box::pin(platform.store.allow_add(&entry, most, by.at)).await.map_err(store)? {
        Allowed::Added(entry) => (entry, true),
        Allowed::Kept(entry) => (entry, false),
        Allowed::Taken => return Err(conflict("it overlaps with an entry of another account")),
        Allowed::TooMany => return Err(conflict(format!("the plan allows {most} entries: remove one"))),
        Allowed::BlockFull => {
            return Err(conflict("this block of addresses takes no more entries: list a wider network"));
        }
    };
    by.record(platform, "ip.add", &format!("customer:{}", customer.id), NOTHING, Some(&entry)).await?;
    platform.emit("ip.add", json!({ "customer": customer.id, "net": net })).await;
    Ok((entry, new))
}

/// Takes `net` off a customer's list. `false` = it was not on it.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn remove(platform: &Platform, by: &By, customer: &CustomerId, net: AllowNet) -> Result<bool, Refusal> {
    let removed = Box::pin(platform.store.allow_remove(customer, &net, by.at)).await.map_err(store)?;
    // Also if nothing was there: an earlier attempt may have removed it and not have recorded it.
    let gone = json!({ "net": net, "entry": removed });
    by.record(platform, "ip.remove", &format!("customer:{customer}"), Some(&gone), NOTHING).await?;
    if removed.is_some() {
        platform.emit("ip.remove", json!({ "customer": customer, "net": net })).await;
    }
    Ok(removed.is_some())
}

/// The customer who listed `from`, by the longest prefix; deleted ones do not count.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn owner(platform: &Platform, from: IpAddr) -> Result<Option<Customer>, Refusal> {
    let block = platform.store.allow_block(&Block::of(from)).await.map_err(store)?;
    let Some(id) = block.as_ref().and_then(|b| b.find(from)).map(|e| &e.customer) else { return Ok(None) };
    let customer = platform.store.customer(id).await.map_err(store)?;
    Ok(customer.filter(|c| c.deleted_at.is_none()))
}

fn conflict(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::Conflict, format!("net: {}", detail.into()))
}
