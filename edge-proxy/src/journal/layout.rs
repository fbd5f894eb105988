//! Where things are in a journal, in words of eight bytes.
//!
//! ```text
//! header 512 | op slots, 8 per worker | lease slots, 32 each | usage slots, 48 each
//! ```

/// `TGJRNL01` in memory order.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"TGJRNL01");
pub(super) const VERSION: u64 = 1;

pub(super) const HEADER: usize = 512;
pub(super) const OP: usize = 8;
pub(super) const SLOT: usize = 32;
pub(super) const USAGE: usize = 48;

/// Header words.
pub(super) mod header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const EPOCH: usize = 2;
    pub const WORKERS: usize = 3;
    pub const LEASES: usize = 4;
    pub const USAGES: usize = 5;
    pub const MACHINE: usize = 6;
    pub const MACHINE_WORDS: usize = 4;
    pub const EDGE: usize = 10;
    pub const EDGE_WORDS: usize = 5;
    pub const CREATED: usize = 15;
    /// Over all words before it.
    pub const CHECKSUM: usize = 16;
    /// Wall clock of the last checkpoint.
    pub const ALIVE: usize = 32;
    pub const REDO: usize = 40;
}

/// Words of the redo record: folding a usage slot into its lease.
pub(super) mod redo {
    pub const VALID: usize = 0;
    pub const LEASE: usize = 1;
    pub const USAGE: usize = 2;
    /// What the lease's folded counter becomes.
    pub const FOLDED: usize = 3;
}

/// Words of an op slot.
pub(super) mod op {
    pub const USAGE: usize = 0;
    pub const DIRECTION: usize = 1;
    pub const BASE: usize = 2;
    /// 0 = no operation under way.
    pub const GRANT: usize = 3;
}

/// Words of a lease slot.
pub(super) mod lease {
    pub const USED: usize = 0;
    /// Bytes of usage slots that are gone.
    pub const FOLDED: usize = 1;
    pub const CUSTOMER: usize = 2;
    pub const CUSTOMER_WORDS: usize = 5;
    pub const BUCKET: usize = 7;
    pub const BUCKET_WORDS: usize = 13;
    pub const CHECKSUM: usize = 20;
}

/// Words of a usage slot.
pub(super) mod usage {
    pub const USED: usize = 0;
    pub const INGRESS: usize = 1;
    pub const EGRESS: usize = 2;
    pub const CONNECTIONS: usize = 3;
    /// Which lease, which worker, since when.
    pub const LEASE: usize = 4;
    pub const SINCE: usize = 6;
    pub const LINE: usize = 7;
    pub const LINE_WORDS: usize = 9;
    pub const PROXY: usize = 16;
    pub const PROXY_WORDS: usize = 14;
    pub const CHECKSUM: usize = 30;
    /// What the last confirmed write of the daily row included: three counters.
    pub const CONFIRMED: usize = 32;
    /// The sequence of the customer's latest collection that looked at this slot, whether it had gained
    /// anything or not; 0 = not told. On one line of the cache with what follows: the disk has both or
    /// neither.
    pub const SEEN_SEQ: usize = 35;
    /// What the latest write of the daily row includes, and its sequence.
    pub const SENT: usize = 36;
    pub const SENT_SEQ: usize = 39;
}

/// Where a part begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub workers: usize,
    pub leases: usize,
    pub usages: usize,
}

impl Layout {
    pub fn op(&self, worker: usize) -> usize {
        HEADER + worker * OP
    }

    pub fn lease(&self, slot: usize) -> usize {
        // Whole slots of 256 bytes, so that none shares a cache line with its neighbour.
        HEADER + (self.workers * OP).next_multiple_of(SLOT) + slot * SLOT
    }

    pub fn usage(&self, slot: usize) -> usize {
        self.lease(self.leases) + slot * USAGE
    }

    pub fn words(&self) -> usize {
        self.usage(self.usages)
    }
}

/// `text` in `words` words: its length, then its bytes. `None` if it does not fit.
pub(super) fn pack(text: &str, words: usize) -> Option<Vec<u64>> {
    if text.len() > (words - 1) * 8 {
        return None;
    }
    let mut out = vec![0; words];
    out[0] = text.len() as u64;
    for (word, chunk) in out[1..].iter_mut().zip(text.as_bytes().chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(bytes);
    }
    Some(out)
}

pub(super) fn unpack(words: &[u64]) -> Option<String> {
    let (len, rest) = words.split_first()?;
    let len = usize::try_from(*len).ok()?;
    let bytes: Vec<u8> = rest.iter().flat_map(|w| w.to_le_bytes()).collect();
    String::from_utf8(bytes.get(..len)?.to_vec()).ok()
}

/// FNV-1a over words: finds accidents, not attacks (the file is ours alone).
pub(super) fn checksum(words: impl IntoIterator<Item = u64>) -> u64 {
    words
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_long_ones_are_refused() {
        for t in ["", "a", "12345678", "brd/203.0.113.7"] {
            assert_eq!(unpack(&pack(t, 5).unwrap()).as_deref(), Some(t));
        }
        assert!(pack(&"x".repeat(33), 5).is_none());
        assert!(unpack(&[99, 0]).is_none());
    }

    #[test]
    fn parts_do_not_overlap() {
        let l = Layout { workers: 3, leases: 4, usages: 5 };
        assert!(l.op(3) <= l.lease(0));
        assert_eq!(l.lease(4), l.usage(0));
        assert_eq!(l.words(), l.usage(5));
        assert_eq!(l.lease(0) % SLOT, 0);
    }
}
