//! The entries of one block of addresses, of all customers: who may list what, whose an address is.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::AllowNet;
use crate::id::CustomerId;
use crate::time::Timestamp;

/// A network that a customer listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowEntry {
    /// Which addresses.
    pub net: AllowNet,
    /// Whose they are.
    pub customer: CustomerId,
    /// The customer's words; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was listed.
    pub created_at: Timestamp,
}

/// All entries inside one block of addresses. Entries of different customers never overlap;
/// those of one customer may lie in each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowBlock {
    /// Counts writes.
    pub ver: u64,
    /// The entries, in order of network.
    pub entries: Vec<AllowEntry>,
}

/// What came of listing an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is new.
    Added(AllowBlock),
    /// The customer had listed the network: the entry keeps its time and gets the new note.
    Noted(AllowBlock),
    /// The customer had listed it with this note.
    Same,
}

/// Why an entry cannot be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlistable {
    /// It overlaps with an entry of another customer.
    Taken,
    /// The block holds [`AllowBlock::MAX`] entries.
    Full,
}

impl AllowBlock {
    /// Most entries of one block: every network that an IPv4 block can be cut into (511), and
    /// less than an item may hold.
    pub const MAX: usize = 512;

    /// The entry that `ip` comes under: the one with the longest prefix. None = not listed.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Option<&AllowEntry> {
        let ip = ip.to_canonical();
        self.entries.iter().filter(|e| e.net.contains(ip)).max_by_key(|e| e.net.prefix_len())
    }

    /// The entry of `customer` for exactly this network.
    #[must_use]
    pub fn entry(&self, customer: &CustomerId, net: &AllowNet) -> Option<&AllowEntry> {
        self.entries.iter().find(|e| e.net == *net && e.customer == *customer)
    }

    /// Lists `entry`, whose network lies in this block.
    ///
    /// # Errors
    /// [`Unlistable`]; nothing changes.
    pub fn insert(&self, entry: &AllowEntry) -> Result<Listed, Unlistable> {
        if self.entries.iter().any(|e| e.customer != entry.customer && e.net.overlaps(&entry.net)) {
            return Err(Unlistable::Taken);
        }
        let mut next = Self { ver: self.ver.saturating_add(1), entries: self.entries.clone() };
        match next.entries.binary_search_by(|e| e.net.cmp(&entry.net)) {
            Ok(at) => {
                let Some(held) = next.entries.get_mut(at).filter(|held| held.note != entry.note) else {
                    return Ok(Listed::Same);
                };
                held.note.clone_from(&entry.note);
                Ok(Listed::Noted(next))
            }
            Err(_) if next.entries.len() >= Self::MAX => Err(Unlistable::Full),
            Err(at) => {
                next.entries.insert(at, entry.clone());
                Ok(Listed::Added(next))
            }
        }
    }

    /// The block without `customer`'s entry for exactly this network, and that entry. None if
    /// there is none.
    #[must_use]
    pub fn remove(&self, customer: &CustomerId, net: &AllowNet) -> Option<(Self, AllowEntry)> {
        let at = self.entries.iter().position(|e| e.net == *net && e.customer == *customer)?;
        let mut next = Self { ver: self.ver.saturating_add(1), entries: self.entries.clone() };
        let removed = next.entries.remove(at);
        Some((next, removed))
    }
}
