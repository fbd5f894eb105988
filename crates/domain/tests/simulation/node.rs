//! A node: a machine on which processes come and go, and what they leave on its disk.

use tollgate_domain::id::{EdgeId, EdgeSession};
use tollgate_domain::time::Timestamp;

use crate::call::{Answer, Call, Sent};
use crate::dice::Dice;
use crate::journal::Journal;
use crate::life::{Life, Stage};
use crate::planted::Planted;

/// What the time is for a node.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Its wall clock: wrong, and jumps.
    pub wall: Timestamp,
    /// Milliseconds that really passed.
    pub real: u64,
}

/// A machine that runs an edge.
pub struct Node {
    /// Which edge.
    pub edge: EdgeId,
    /// How far its clock is off, in milliseconds.
    pub drift: i64,
    /// Nothing it sends arrives in time.
    pub cut: bool,
    /// Relay workers of its processes.
    pub workers: usize,
    /// The process, if it runs.
    pub life: Option<Life>,
    /// Journals of lives that crashed, oldest first.
    pub left: Vec<Journal>,
}

impl Node {
    /// A machine whose edge has never run.
    pub fn new(n: usize, workers: usize, drift: i64) -> Self {
        let edge = format!("e{n}").parse().expect("an edge id");
        Self { edge, drift, cut: false, workers, life: None, left: Vec::new() }
    }

    /// What the time is for it.
    pub fn now(&self, base: Timestamp, real: u64) -> Now {
        let wall = base.as_millis().saturating_add(real).saturating_add_signed(self.drift);
        Now { wall: Timestamp::from_millis(wall), real }
    }

    /// Starts a process.
    pub fn start(&mut self, now: Now) {
        let session = EdgeSession { edge: self.edge.clone(), epoch: 0 };
        self.life = Some(Life::new(session, self.workers, now));
    }

    /// What the process does next with the store.
    pub fn think(&mut self, now: Now, dice: &mut Dice, serials: &mut u64, planted: Option<Planted>) -> Option<Sent> {
        let life = self.life.as_mut()?;
        life.journal.alive = now.wall;
        let sent = match &mut life.stage {
            Stage::Starting => Some(Sent { session: life.session.clone(), serial: 0, call: Call::StartEpoch }),
            Stage::Recovering(recovery) => match self.left.first_mut() {
                None => {
                    life.stage = Stage::Serving;
                    None
                }
                Some(journal) => {
                    let sent = recovery.think(journal);
                    if sent.is_none() {
                        // All it says is in the store.
                        life.done.extend(journal.leases.iter().map(|l| l.serial));
                        self.left.remove(0);
                        **recovery = Default::default();
                    }
                    sent
                }
            },
            Stage::Serving => life.keep_books(now, dice, serials, planted),
        };
        life.call.clone_from(&sent);
        sent
    }

    /// Takes in an answer; none = it will not come.
    pub fn hear(&mut self, now: Now, answer: Option<Answer>) -> Result<(), String> {
        let Some(life) = &mut self.life else { return Ok(()) };
        let Some(sent) = life.call.take() else { return Ok(()) };
        match &mut life.stage {
            Stage::Starting => {
                if let Some(Answer::Epoch(session)) = answer {
                    life.journal = Journal::new(session.clone(), self.workers, now.wall);
                    life.session = session;
                    life.stage = Stage::Recovering(Box::default());
                }
                Ok(())
            }
            Stage::Recovering(recovery) => match (answer, self.left.first_mut()) {
                (Some(answer), Some(journal)) => recovery.hear(journal, &sent.call, answer),
                // It is repeated from its beginning.
                _ => {
                    **recovery = Default::default();
                    Ok(())
                }
            },
            Stage::Serving => life.hear(now, &sent, answer),
        }
    }
}
