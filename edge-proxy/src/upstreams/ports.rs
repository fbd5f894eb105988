//! The port map: which upstream has which port. No IO.
//!
//! Upstreams take the lowest free port in the file's order. One that stays in the file keeps its
//! port, whatever happens around it; one that leaves frees it.

use std::collections::{BTreeMap, HashMap};

use super::row::Identity;

/// A range of ports, and who has them.
#[derive(Clone, Debug)]
pub(crate) struct PortMap {
    first: u16,
    /// Last port of the range, included.
    last: u16,
    held: BTreeMap<u16, Identity>,
}

/// What a file's rows became.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Port of each row, in the file's order; `None` beyond the range.
    pub ports: Vec<Option<u16>>,
    /// Ports that were held and no longer are.
    pub freed: Vec<u16>,
}

impl PortMap {
    /// `count` ports from `first` on, as far as ports go, nobody having any.
    pub fn new(first: u16, count: u16) -> Self {
        let first = first.max(1);
        let last = first.saturating_add(count.saturating_sub(1));
        let last = if count == 0 { first - 1 } else { last };
        Self { first, last, held: BTreeMap::new() }
    }

    /// Takes up what was [held](Self::held) before a restart; what the range no longer holds is forgotten.
    pub fn restore(&mut self, kept: impl IntoIterator<Item = (u16, Identity)>) {
        let range = self.first..=self.last;
        self.held = kept.into_iter().filter(|(port, _)| range.contains(port)).collect();
    }

    /// Who has which port.
    pub fn held(&self) -> &BTreeMap<u16, Identity> {
        &self.held
    }

    /// Turns to these rows; no two of them are the same.
    pub fn turn<'a>(&mut self, rows: impl IntoIterator<Item = &'a Identity> + Clone) -> Turn {
        let mut port_of: HashMap<&Identity, Option<u16>> = rows.clone().into_iter().map(|r| (r, None)).collect();
        let before = std::mem::take(&mut self.held);
        let mut freed = Vec::new();
        for (port, identity) in before {
            match port_of.get_mut(&identity) {
                Some(place @ None) => {
                    *place = Some(port);
                    self.held.insert(port, identity);
                }
                _ => freed.push(port),
            }
        }
        let mut next = u32::from(self.first);
        let ports = rows.into_iter().map(|row| {
            if let Some(Some(port)) = port_of.get(row) {
                return Some(*port);
            }
            let port = self.free_from(&mut next)?;
            self.held.insert(port, row.clone());
            Some(port)
        });
        let ports = ports.collect();
        freed.retain(|port| !self.held.contains_key(port));
        Turn { ports, freed }
    }

    /// The lowest free port from `next` on; `next` moves behind it.
    fn free_from(&self, next: &mut u32) -> Option<u16> {
        while *next <= u32::from(self.last) {
            let port = u16::try_from(*next).ok()?;
            *next += 1;
            if !self.held.contains_key(&port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tollgate_domain::upstream::Scheme;

    use super::*;

    fn row(n: u16) -> Identity {
        Identity::new(Scheme::Http, Some("u"), &format!("h{n}.example"), 80)
    }

    fn rows(ns: &[u16]) -> Vec<Identity> {
        ns.iter().map(|n| row(*n)).collect()
    }

    fn some(ports: &[u16]) -> Vec<Option<u16>> {
        ports.iter().map(|p| Some(*p)).collect()
    }

    #[test]
    fn ports_are_given_in_file_order_and_kept_over_reloads() {
        let mut map = PortMap::new(4000, 4);
        assert_eq!(map.turn(&rows(&[1, 2, 3])).ports, some(&[4000, 4001, 4002]));
        // Another order, one gone, two new: who stays keeps; the freed one is taken first.
        let turn = map.turn(&rows(&[3, 7, 1, 8, 9]));
        assert_eq!(turn.ports, [Some(4002), Some(4001), Some(4000), Some(4003), None]);
        assert!(turn.freed.is_empty());
        let turn = map.turn(&rows(&[9, 8]));
        assert_eq!((turn.ports, turn.freed), (some(&[4000, 4003]), vec![4001, 4002]));
    }

    #[test]
    fn ports_survive_a_restart_and_a_smaller_range() {
        let mut map = PortMap::new(4000, 10);
        map.turn(&rows(&[1, 2, 3]));
        map.turn(&rows(&[2, 3]));
        let mut next = PortMap::new(4000, 2);
        next.restore(map.held().clone());
        assert_eq!(next.turn(&rows(&[3, 2])).ports, some(&[4000, 4001]));
    }

    #[test]
    fn ranges_end_where_ports_end() {
        assert_eq!(PortMap::new(65_535, 1000).turn(&rows(&[1, 2])).ports, [Some(65_535), None]);
        assert_eq!(PortMap::new(4000, 0).turn(&rows(&[1])).ports, [None]);
        assert_eq!(PortMap::new(0, 1).turn(&rows(&[1, 2])).ports, [Some(1), None]);
    }

    proptest! {
        #[test]
        fn who_stays_keeps_and_who_comes_takes_the_lowest_free(
            files in proptest::collection::vec(proptest::collection::vec(0..24u16, 0..24), 1..8),
        ) {
            let mut map = PortMap::new(100, 12);
            for file in files {
                let mut file: Vec<u16> = file;
                let mut seen = std::collections::HashSet::new();
                file.retain(|n| seen.insert(*n));
                let rows = rows(&file);
                let before = map.held().clone();
                let turn = map.turn(&rows);
                // A model: keep, then fill in order.
                let mut free: Vec<u16> =
                    (100..112).filter(|p| before.get(p).is_none_or(|i| !rows.contains(i))).collect();
                free.reverse();
                for (row, port) in rows.iter().zip(&turn.ports) {
                    let kept = before.iter().find(|(_, i)| *i == row).map(|(p, _)| *p);
                    prop_assert_eq!(*port, kept.or_else(|| free.pop()));
                    if let Some(port) = port {
                        prop_assert_eq!(map.held().get(port), Some(row));
                    }
                }
                prop_assert_eq!(map.held().len(), turn.ports.iter().flatten().count());
                for port in &turn.freed {
                    prop_assert!(before.contains_key(port) && !map.held().contains_key(port));
                }
                // The same file again changes nothing.
                let again = map.clone().turn(&rows);
                prop_assert_eq!((again.ports, again.freed), (turn.ports, vec![]));
            }
        }
    }
}
