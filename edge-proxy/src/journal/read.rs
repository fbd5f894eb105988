//! What an earlier life left behind.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use tollgate_domain::budget::{Bucket, in_doubt};
use tollgate_domain::daily::Marks;
use tollgate_domain::id::{CustomerId, EdgeSession, LineLabel, ProxyId};
use tollgate_domain::time::Timestamp;

use super::layout::{Layout, checksum, header, lease, op, redo, unpack, usage};
use super::map::Map;
use super::{Counters, JournalError, mark};

/// The journal of a life that is over.
pub(crate) struct Remains {
    pub session: EdgeSession,
    /// When the life began.
    pub created: Timestamp,
    /// When it was last checkpointed.
    pub alive: Timestamp,
    /// What it held.
    pub leases: Vec<LeaseLeft>,
    path: PathBuf,
    map: Map,
    layout: Layout,
    /// Holds the lock until the remains are settled.
    _file: File,
}

impl std::fmt::Debug for Remains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remains").field("session", &self.session).field("leases", &self.leases).finish_non_exhaustive()
    }
}

/// One lease of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseLeft {
    pub customer: CustomerId,
    pub bucket: Bucket,
    /// Bytes of usage slots that were folded before.
    pub folded: u64,
    /// Bytes that may have moved uncounted.
    pub doubt: u64,
    pub usages: Vec<UsageLeft>,
}

/// One usage slot of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageLeft {
    pub line: LineLabel,
    pub proxy: ProxyId,
    pub since: Timestamp,
    pub counters: Counters,
    slot: usize,
    marks: Marks,
    seen_seq: u64,
}

impl UsageLeft {
    /// What the daily rows include of it, if the latest of them has sequence `stored`.
    ///
    /// A row from a collection that the slot has not seen is younger than the slot: the power was lost, and
    /// the disk holds an earlier instant. That collection looked at every slot there was, so the rows include
    /// all that this one counted.
    pub fn recorded(&self, stored: u64) -> Counters {
        let younger = self.seen_seq > 0 && stored > self.seen_seq;
        if younger { self.counters } else { self.marks.recorded(stored) }
    }
}

impl LeaseLeft {
    /// Bytes known to have moved.
    pub fn settled(&self) -> u64 {
        self.usages.iter().fold(self.folded, |sum, u| sum.saturating_add(u.counters.bytes()))
    }
}

impl Remains {
    pub(super) fn read(
        path: PathBuf,
        file: File,
        session: EdgeSession,
        created: Timestamp,
        map: Map,
        layout: Layout,
    ) -> Result<Self, JournalError> {
        let reader = Reader { map: &map, layout };
        reader.redo();
        let leases = reader.leases().map_err(|why| JournalError::Broken { path: path.clone(), why })?;
        let alive = Timestamp::from_millis(reader.load(header::ALIVE)).max(created);
        Ok(Self { session, created, alive, leases, path, map, layout, _file: file })
    }

    /// Notes that a write of the daily row with sequence `seq` is about to include all that
    /// `usage` counted, where the latest row stored has sequence `stored`.
    pub fn sending(&self, usage: &UsageLeft, stored: u64, seq: u64) {
        let c = usage.recorded(stored);
        let at = self.layout.usage(usage.slot);
        mark(&self.map, at, &[c.ingress, c.egress, c.connections], seq, usage.counters);
    }

    /// Deletes the file: all it says is in the store.
    pub fn delete(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

struct Reader<'a> {
    map: &'a Map,
    layout: Layout,
}

impl Reader<'_> {
    fn load(&self, at: usize) -> u64 {
        self.map.word(at).load(Ordering::Acquire)
    }

    fn words(&self, at: usize, n: usize) -> Vec<u64> {
        (at..at + n).map(|w| self.load(w)).collect()
    }

    fn text(&self, at: usize, n: usize) -> Option<String> {
        unpack(&self.words(at, n))
    }

    fn index(&self, at: usize, below: usize) -> Option<usize> {
        usize::try_from(self.load(at)).ok().filter(|i| *i < below)
    }

    /// Finishes a fold that was under way.
    fn redo(&self) {
        let at = header::REDO;
        if self.load(at + redo::VALID) != 1 {
            return;
        }
        let lease = self.index(at + redo::LEASE, self.layout.leases);
        let usage = self.index(at + redo::USAGE, self.layout.usages);
        if let (Some(lease), Some(usage)) = (lease, usage) {
            let folded = self.load(at + redo::FOLDED);
            self.map.word(self.layout.lease(lease) + lease::FOLDED).store(folded, Ordering::Release);
            self.map.word(self.layout.usage(usage) + usage::USED).store(0, Ordering::Release);
        }
        self.map.word(at + redo::VALID).store(0, Ordering::Release);
    }

    fn leases(&self) -> Result<Vec<LeaseLeft>, String> {
        let mut slots = (0..self.layout.leases).map(|n| self.lease(n)).collect::<Result<Vec<_>, _>>()?;
        for n in 0..self.layout.usages {
            let Some((lease, left)) = self.usage(n)? else { continue };
            let Some(Some(slot)) = slots.get_mut(lease) else {
                // Its lease was confirmed closed; the slot just was not freed yet.
                continue;
            };
            slot.doubt = slot.doubt.saturating_add(self.doubt(n));
            slot.usages.push(left);
        }
        Ok(slots.into_iter().flatten().collect())
    }

    fn lease(&self, slot: usize) -> Result<Option<LeaseLeft>, String> {
        let at = self.layout.lease(slot);
        if self.load(at + lease::USED) != 1 {
            return Ok(None);
        }
        let identity = self.words(at + lease::CUSTOMER, lease::CUSTOMER_WORDS + lease::BUCKET_WORDS);
        let parse = || {
            let customer = self.text(at + lease::CUSTOMER, lease::CUSTOMER_WORDS)?.parse().ok()?;
            let bucket = self.text(at + lease::BUCKET, lease::BUCKET_WORDS)?.parse().ok()?;
            Some(LeaseLeft { customer, bucket, folded: self.load(at + lease::FOLDED), doubt: 0, usages: Vec::new() })
        };
        let sound = checksum(identity) == self.load(at + lease::CHECKSUM);
        sound.then(parse).flatten().map(Some).ok_or_else(|| format!("lease slot {slot} does not add up"))
    }

    fn usage(&self, slot: usize) -> Result<Option<(usize, UsageLeft)>, String> {
        let at = self.layout.usage(slot);
        if self.load(at + usage::USED) != 1 {
            return Ok(None);
        }
        let identity = self.words(at + usage::LEASE, usage::CHECKSUM - usage::LEASE);
        let parse = || {
            let lease = self.index(at + usage::LEASE, self.layout.leases)?;
            let three = |from: usize| Counters {
                ingress: self.load(at + from),
                egress: self.load(at + from + 1),
                connections: self.load(at + from + 2),
            };
            let line = self.text(at + usage::LINE, usage::LINE_WORDS)?.parse().ok()?;
            let proxy = self.text(at + usage::PROXY, usage::PROXY_WORDS)?.parse().ok()?;
            let since = Timestamp::from_millis(self.load(at + usage::SINCE));
            let marks = Marks {
                confirmed: three(usage::CONFIRMED),
                sent: three(usage::SENT),
                sent_seq: self.load(at + usage::SENT_SEQ),
            };
            let seen_seq = self.load(at + usage::SEEN_SEQ);
            let left = UsageLeft { line, proxy, since, slot, counters: three(usage::INGRESS), marks, seen_seq };
            Some((lease, left))
        };
        let sound = checksum(identity) == self.load(at + usage::CHECKSUM);
        sound.then(parse).flatten().map(Some).ok_or_else(|| format!("usage slot {slot} does not add up"))
    }

    /// Bytes of operations under way on a usage slot that its counters may lack.
    fn doubt(&self, slot: usize) -> u64 {
        (0..self.layout.workers)
            .map(|w| self.layout.op(w))
            .filter(|at| self.load(at + op::GRANT) > 0 && self.index(at + op::USAGE, self.layout.usages) == Some(slot))
            .map(|at| {
                let word = self.index(at + op::DIRECTION, usage::CONNECTIONS).unwrap_or(usage::INGRESS);
                let counter = self.load(self.layout.usage(slot) + word);
                in_doubt(self.load(at + op::BASE), self.load(at + op::GRANT), counter)
            })
            .sum()
    }
}
