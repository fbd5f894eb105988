//! A serving process at its books: the order in which the edge asks, over the domain's machines.

use tollgate_domain::budget::{Ended, Ending, Heard, Holding, LEASE_FIRST, aim, lease_size};
use tollgate_domain::daily::Daybook;
use tollgate_domain::time::Timestamp;

use crate::call::{Answer, Call, Sent};
use crate::dice::Dice;
use crate::life::{Cycle, Held, Life};
use crate::node::Now;
use crate::planted::Planted;

impl Life {
    /// What to ask of the store next, if anything.
    pub fn keep_books(
        &mut self,
        now: Now,
        dice: &mut Dice,
        serials: &mut u64,
        planted: Option<Planted>,
    ) -> Option<Sent> {
        self.begin_what_is_due(now.wall, planted);
        if let Some(n) = self.held.iter().position(|h| h.known.closing()) {
            return self.close(n, now, planted);
        }
        // While an operation is under way nothing is closed yet, and all goes on as before.
        if self.stopping() && self.held.is_empty() {
            return self.stop(now);
        }
        if let Some(h) = self.held.iter().find(|h| !h.listed) {
            return Some(self.sent(h.serial, Call::RosterAdd(h.bucket.clone())));
        }
        if self.cycle != Cycle::Idle {
            return self.write_rows(now.wall);
        }
        let choice = dice.roll(4);
        if self.thirsty && choice > 0 {
            return self.supply(now, serials);
        }
        let owing = self.held.iter().position(|h| h.known.owes(self.journal.counted(h.serial)));
        match owing {
            Some(n) if choice < 3 => Some(self.settle(n)),
            _ if choice < 2 => self.write_rows(now.wall),
            _ if dice.one_in(3) => self.give_back(dice, planted),
            _ => None,
        }
    }

    /// Takes in an answer to `sent`; none = it will not come.
    pub fn hear(&mut self, now: Now, sent: &Sent, answer: Option<Answer>) -> Result<(), String> {
        let Some(answer) = answer else {
            // The next cycle makes up for it.
            self.cycle = Cycle::Idle;
            return Ok(());
        };
        let n = self.held.iter().position(|h| h.serial == sent.serial);
        match (answer, &sent.call, n) {
            (Answer::Allowances(buckets), ..) => {
                self.buckets = buckets;
                self.looked = true;
                self.tried.clear();
            }
            (Answer::Take(take), Call::Take { .. } | Call::GiveBack { .. }, Some(n)) => {
                let heard = self.held[n].known.hear(&take);
                self.heard(n, heard, now);
            }
            (Answer::Close(close), Call::Close { .. }, Some(n)) => match self.held[n].known.hear_close(close) {
                Ended::Done | Ended::Lost => self.held[n].closed = true,
                Ended::Again => {}
                Ended::Refused => return Err(format!("closing was refused: {sent:?}")),
            },
            (Answer::Done, Call::RosterAdd(_), Some(n)) => self.held[n].listed = true,
            (Answer::Done, Call::RosterRemove(_), Some(n)) => self.forget(n),
            (Answer::Rows(rows), Call::Usage(_), _) => self.load_rows(rows),
            (Answer::Done, Call::Record(day, _), _) => self.rows.confirm(&(day.clone(), ())),
            (answer, ..) => return Err(format!("{answer:?} is no answer to {sent:?}")),
        }
        Ok(())
    }

    fn sent(&self, serial: u64, call: Call) -> Sent {
        Sent { session: self.session.clone(), serial, call }
    }

    fn ask(&mut self, n: usize, bytes: u64) -> Sent {
        let moved = self.journal.counted(self.held[n].serial);
        let h = &mut self.held[n];
        let (bucket, ask) = (h.bucket.clone(), h.known.ask(bytes, moved));
        let serial = h.serial;
        self.sent(serial, Call::Take { bucket, ask })
    }

    /// Settles; what was given up and is not back goes along.
    fn settle(&mut self, n: usize) -> Sent {
        let h = &self.held[n];
        if h.known.given_up() == 0 {
            return self.ask(n, 0);
        }
        let ask = h.known.ask_back(self.journal.counted(h.serial));
        self.sent(h.serial, Call::GiveBack { bucket: h.bucket.clone(), ask })
    }

    /// Somebody else lacks bytes: all or some of what is not reserved goes back.
    fn give_back(&mut self, dice: &mut Dice, planted: Option<Planted>) -> Option<Sent> {
        let n = self.held.iter().position(|h| !h.known.closing() && h.known.seq() > 0)?;
        let h = &mut self.held[n];
        let bytes = if dice.one_in(2) { h.left } else { dice.roll(h.left + 1) };
        if bytes == 0 {
            return None;
        }
        if planted != Some(Planted::GivesBackWhatItKeeps) {
            // The pool is given up before the call.
            h.left -= bytes;
        }
        h.known.give_up(bytes);
        Some(self.settle(n))
    }

    /// Begins to close what has ended, or all if the process stops.
    fn begin_what_is_due(&mut self, wall: Timestamp, planted: Option<Planted>) {
        let hasty = planted == Some(Planted::GivesBackWhatItSpends);
        let all = self.stopping() && (hasty || !self.busy());
        for n in 0..self.held.len() {
            let h = &self.held[n];
            let ended = self.buckets.iter().any(|(b, a)| *b == h.bucket && !a.spendable(wall));
            if !h.known.closing() && (all || ended) {
                self.begin_closing(n);
            }
        }
    }

    fn begin_closing(&mut self, n: usize) {
        self.held[n].known.begin_closing();
        self.looked &= self.held[n].known.seq() == 0;
        self.took = None;
    }

    fn close(&mut self, n: usize, now: Now, planted: Option<Planted>) -> Option<Sent> {
        let hasty = planted == Some(Planted::GivesBackWhatItSpends);
        let moved = self.journal.counted(self.held[n].serial);
        if self.held[n].closed {
            // After the lease, which says what is lost; before the roster forgets it.
            if !hasty && !self.held[n].written {
                return self.write_rows(now.wall);
            }
            return Some(self.unlist(n));
        }
        let h = &mut self.held[n];
        if !hasty {
            // The pool is given up before the call.
            h.given_up += std::mem::take(&mut h.left);
            if h.given_up + moved != h.known.given() {
                return None; // an operation is under way
            }
        }
        match h.known.ending(moved) {
            Ending::Learn if planted != Some(Planted::ForgetsItsFirstTake) => Some(self.ask(n, 0)),
            Ending::Nothing | Ending::Learn => {
                h.closed = true;
                self.close(n, now, planted)
            }
            Ending::Close(last) => {
                let (serial, bucket) = (h.serial, h.bucket.clone());
                Some(self.sent(serial, Call::Close { bucket, last }))
            }
        }
    }

    fn unlist(&self, n: usize) -> Sent {
        let h = &self.held[n];
        self.sent(h.serial, Call::RosterRemove(h.bucket.clone()))
    }

    fn forget(&mut self, n: usize) {
        let h = self.held.remove(n);
        self.journal.free(h.serial);
        self.seen.retain(|(serial, _), _| *serial != h.serial);
        self.done.push(h.serial);
    }

    /// All is closed: the process ends, or its books begin anew.
    fn stop(&mut self, now: Now) -> Option<Sent> {
        if self.cycle != Cycle::Idle || !self.rows.confirmed() {
            return self.write_rows(now.wall);
        }
        if self.leaving {
            self.ended = true;
        } else {
            self.rows = Daybook::new(self.rows.seq());
            (self.looked, self.thirsty, self.desired) = (false, false, LEASE_FIRST);
            self.buckets.clear();
            self.retiring = false;
        }
        None
    }

    /// Gets bytes for who asked.
    fn supply(&mut self, now: Now, serials: &mut u64) -> Option<Sent> {
        let Some(n) = self.held.iter().position(|h| !h.known.closing()) else {
            return self.next_bucket(now.wall, serials);
        };
        let h = &self.held[n];
        let known = self.buckets.iter().find(|(b, _)| *b == h.bucket).map(|(_, a)| (a.available, a.leases.len()));
        let (available, edges) = known.unwrap_or((u64::MAX, 1));
        let moved = self.journal.counted(h.serial);
        if let Some((at, before)) = self.took {
            let elapsed = std::time::Duration::from_millis(now.real - at);
            self.desired = aim(self.desired, moved.saturating_sub(before), elapsed);
        }
        let want = if h.gone { 0 } else { lease_size(self.desired, available, edges as u64) };
        if want > 0 {
            return Some(self.ask(n, want));
        }
        if h.known.seq() == 0 || (h.left == 0 && moved == h.known.given()) {
            self.begin_closing(n);
        } else {
            self.held[n].low = 0;
            self.thirsty = false;
        }
        None
    }

    /// Opens a lease on the next bucket that has any bytes.
    fn next_bucket(&mut self, wall: Timestamp, serials: &mut u64) -> Option<Sent> {
        if !self.looked {
            return Some(self.sent(0, Call::Look));
        }
        let open = self.buckets.iter().find(|(b, a)| a.spendable(wall) && a.available > 0 && !self.tried.contains(b));
        let Some(bucket) = open.map(|(b, _)| b.clone()) else {
            (self.thirsty, self.looked) = (false, false);
            return None;
        };
        self.tried.insert(bucket.clone());
        *serials += 1;
        let serial = *serials;
        self.journal.open(serial, bucket.clone());
        self.held.push(Held {
            serial,
            bucket: bucket.clone(),
            known: Holding::new(),
            left: 0,
            low: 0,
            given_up: 0,
            listed: false,
            gone: false,
            written: false,
            closed: false,
        });
        self.took = None;
        Some(self.sent(serial, Call::RosterAdd(bucket)))
    }

    fn heard(&mut self, n: usize, heard: Heard, now: Now) {
        let moved = self.journal.counted(self.held[n].serial);
        let h = &mut self.held[n];
        if let Heard::Agreed { available: Some(rest), .. } | Heard::Short { available: rest } = heard
            && let Some((_, a)) = self.buckets.iter_mut().find(|(b, _)| *b == h.bucket)
        {
            a.available = rest;
        }
        match heard {
            Heard::Agreed { got, .. } if got > 0 => {
                h.left += got;
                h.low = got / 2;
                self.thirsty = false;
                self.took = Some((now.real, moved));
            }
            Heard::Agreed { .. } | Heard::Short { .. } => {}
            Heard::Gone => h.gone = true,
        }
    }
}
