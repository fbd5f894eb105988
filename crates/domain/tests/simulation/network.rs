//! Between nodes and store: calls, what becomes of them, and what the store does.

use tollgate_domain::budget::{Bucket, Close, Take};
use tollgate_domain::id::EdgeSession;

use crate::call::{Answer, Call, Sent};
use crate::faults::Fate;
use crate::planted::{self, Planted};
use crate::store_model::Model;
use crate::world::World;

impl World {
    /// A node sends a call, or what it sent meets its fate.
    pub(crate) fn books(&mut self, n: usize, fate: Option<Fate>) -> Result<(), String> {
        let now = self.now(n);
        let node = &mut self.nodes[n];
        let Some(life) = &node.life else { return Ok(()) };
        let Some(sent) = life.call.clone() else {
            let sent = node.think(now, &mut self.dice, &mut self.serials, self.planted);
            self.after(n);
            if let Some(sent) = sent {
                self.say(|| format!("e{n} sends {sent:?}"));
            }
            return Ok(());
        };
        let fate = fate.unwrap_or_else(|| Fate::draw(&mut self.dice, self.nodes[n].cut));
        *self.met.entry(fate.name()).or_default() += 1;
        let mut answer = fate.applies().then(|| self.apply(&sent));
        if fate == Fate::Doubled {
            answer = Some(self.apply(&sent));
        }
        if fate.stays_under_way() && !sent.call.only_reads() {
            self.copies.push(sent.clone());
        }
        let answer = answer.filter(|_| fate.answers());
        self.say(|| format!("e{n} {}: {answer:?}", fate.name()));
        self.nodes[n].hear(now, answer)?;
        self.after(n);
        Ok(())
    }

    /// What a node has done with is over; one that has left is gone.
    fn after(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(life) = &mut node.life else { return };
        self.over.extend(life.done.drain(..));
        if life.ended {
            node.life = None;
            self.meet(n, "left cleanly");
        }
    }

    /// A write that nobody waits for arrives.
    pub(crate) fn arrive(&mut self) {
        if self.copies.is_empty() {
            return;
        }
        let copy = self.copies.swap_remove(self.dice.index(self.copies.len()));
        let over = copy.serial > 0 && self.over.contains(&copy.serial);
        if over && self.planted != Some(Planted::ArrivesAfterItsLease) {
            return;
        }
        let answer = self.apply(&copy);
        self.say(|| format!("late: {copy:?}: {answer:?}"));
        *self.met.entry("arrived late").or_default() += 1;
    }

    /// The store does what a call asks for.
    pub(crate) fn apply(&mut self, sent: &Sent) -> Answer {
        let Sent { session, serial, call } = sent;
        self.changed |= !call.only_reads();
        let model = &mut self.model;
        match call {
            Call::StartEpoch => Answer::Epoch(model.start_epoch(&session.edge)),
            Call::Look => Answer::Allowances(model.allowances()),
            Call::Take { bucket, ask } => {
                let take = if self.planted == Some(Planted::SettlesWithoutItsSequence) {
                    planted::take_unguarded(model, bucket, session, ask.bytes, ask.settled, ask.seq)
                } else {
                    model.take(bucket, session, ask.bytes, ask.settled, ask.seq)
                };
                if take == Take::Lost {
                    *self.met.entry("returned after it was lost").or_default() += 1;
                }
                Answer::Take(take)
            }
            Call::GiveBack { bucket, ask } => {
                let before = taken(model, bucket, session);
                let take = model.give_back(bucket, session, ask.bytes, ask.settled, ask.seq);
                if taken(model, bucket, session) < before {
                    *self.met.entry("gave back").or_default() += 1;
                }
                Answer::Take(take)
            }
            Call::Close { bucket, last } => {
                let mut last = *last;
                if self.planted == Some(Planted::DoubtsNothing) {
                    last.doubt = 0;
                }
                let before = holds(model, bucket, session);
                let close = model.close_lease(bucket, session, last);
                if before && !holds(model, bucket, session) {
                    let bytes = self.truth.bytes.entry(bucket.clone()).or_default();
                    bytes.settled += last.settled;
                    bytes.doubt += last.doubt;
                    self.over.insert(*serial);
                    *self.met.entry(if last.doubt > 0 { "left doubt" } else { "closed" }).or_default() += 1;
                }
                if close == Close::Lost {
                    *self.met.entry("returned after it was lost").or_default() += 1;
                }
                Answer::Close(close)
            }
            Call::Roster => Answer::Roster(model.roster(session)),
            Call::RosterAdd(bucket) => {
                model.roster_add(session, bucket);
                Answer::Done
            }
            Call::RosterRemove(bucket) => {
                model.roster_remove(session, bucket);
                Answer::Done
            }
            Call::Usage(month) => {
                let rows = model.usage(month).into_iter().filter(|((_, s), _)| s == session);
                Answer::Rows(rows.map(|((day, _), u)| (day, u)).collect())
            }
            Call::Record(day, usage) => {
                model.record_usage(day, session, usage);
                Answer::Done
            }
        }
    }
}

fn taken(model: &Model, bucket: &Bucket, session: &EdgeSession) -> u64 {
    model.allowances.get(bucket).and_then(|a| a.leases.get(session)).map_or(0, |l| l.taken)
}

fn holds(model: &Model, bucket: &Bucket, session: &EdgeSession) -> bool {
    model.allowances.get(bucket).is_some_and(|a| a.leases.contains_key(session))
}
