//! A serving process at its daily rows: load, confirm, collect, confirm.

use tollgate_domain::daily::DayUsage;
use tollgate_domain::time::Timestamp;

use crate::call::{Call, Sent};
use crate::life::{Cycle, Life};

impl Life {
    /// The next call of the cycle; none = it came to its end, all rows written.
    pub fn write_rows(&mut self, wall: Timestamp) -> Option<Sent> {
        loop {
            match self.cycle {
                Cycle::Idle if self.rows.knows(wall) => self.cycle = Cycle::Confirming(wall),
                Cycle::Idle => self.cycle = Cycle::Loading(wall),
                Cycle::Loading(at) => return Some(self.row_call(Call::Usage(at.month()))),
                Cycle::Confirming(at) => {
                    if let Some(call) = self.due() {
                        return Some(call);
                    }
                    self.collect(at);
                    self.cycle = Cycle::Collected(at);
                }
                Cycle::Collected(at) => {
                    if let Some(call) = self.due() {
                        return Some(call);
                    }
                    self.rows.trim(at);
                    self.cycle = Cycle::Idle;
                    for serial in std::mem::take(&mut self.collected) {
                        if let Some(h) = self.held.iter_mut().find(|h| h.serial == serial) {
                            h.written = true;
                        }
                    }
                    return None;
                }
            }
        }
    }

    /// Takes in what the session wrote in the month that was asked for.
    pub fn load_rows(&mut self, rows: Vec<(String, DayUsage)>) {
        if let Cycle::Loading(at) = self.cycle {
            self.rows.load(at, rows.into_iter().map(|(day, usage)| ((day, ()), usage)));
            self.cycle = Cycle::Confirming(at);
        }
    }

    fn row_call(&self, call: Call) -> Sent {
        Sent { session: self.session.clone(), serial: 0, call }
    }

    fn due(&self) -> Option<Sent> {
        let ((day, ()), usage) = self.rows.due().into_iter().next()?;
        Some(self.row_call(Call::Record(day, usage)))
    }

    /// Adds what the counters gained, and marks in the journal that the next write will say so.
    fn collect(&mut self, at: Timestamp) {
        let seq = self.rows.begin(at);
        for slot in &mut self.journal.leases {
            if self.held.iter().any(|h| h.serial == slot.serial && h.known.lost()) {
                continue;
            }
            for (worker, usage) in slot.usages.iter_mut().enumerate() {
                let seen = self.seen.entry((slot.serial, worker)).or_default();
                if usage.counted == *seen {
                    continue;
                }
                usage.marks.confirmed = usage.marks.sent;
                (usage.marks.sent, usage.marks.sent_seq) = (usage.counted, seq);
                self.rows.add(at, (), usage.counted.since(*seen));
                *seen = usage.counted;
            }
        }
        let journal = &self.journal;
        let at_rest = self
            .held
            .iter()
            .filter(|h| h.known.closing() && h.given_up + journal.counted(h.serial) == h.known.given() && h.left == 0);
        self.collected = at_rest.map(|h| h.serial).collect();
    }
}
