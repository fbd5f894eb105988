//! Shares: `CAP#<customer>`, the split of a customer's threads, QPS and bandwidth between edges.
//! Read, changed by [`Cap`], written back on its version.

use tollgate_domain::feed::Entity;
use tollgate_domain::id::{CustomerId, EdgeSession};
use tollgate_domain::share::{Cap, Capacity, Others, Part, Terms, Usage};
use tollgate_domain::time::Timestamp;

use crate::edge::Sign;
use crate::error::Failure;
use crate::expr::{ABSENT, Write};
use crate::feed::announce;
use crate::item::{encode, n};
use crate::{Store, StoreError, keys, tx};

/// How often a change is tried against other writers before it counts as unavailable.
const ATTEMPTS: u32 = 16;

/// What an edge learns when it says what a customer uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareReport {
    /// What is split, as the newest row says that any edge knows.
    pub limits: Capacity,
    /// What the item says that the edge holds.
    pub held: Part,
    /// What it may allow itself from now on; see [`tollgate_domain::share::Answer::may`].
    pub may: Part,
    /// Tunnels of all edges.
    pub in_use_total: u64,
    /// Since when the sum has been above the soft limit; none = the strike clock stands.
    pub strike_since: Option<Timestamp>,
    /// The end of the last lock-out that a strike set: it holds until then.
    pub locked_until: Option<Timestamp>,
    /// The other lives that have shares.
    pub others: Vec<EdgeSession>,
}

/// Another life, and the last that was seen of it: it did not change for long enough that its
/// shares are taken back, if it has not changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent {
    /// Which life.
    pub session: EdgeSession,
    /// Its sign of life; none = its edge's row knows it no more.
    pub sign: Option<Sign>,
}

/// Which life of an edge reports, and what it knows of others.
#[derive(Clone, Copy, Debug)]
pub struct Life<'a> {
    /// The one that reports.
    pub session: &'a EdgeSession,
    /// Earlier ones of its edge that live on (a hand-over): they keep what their tunnels need.
    pub elders: &'a [EdgeSession],
    /// Those that it observed to be silent.
    pub silent: &'a [Silent],
    /// It was silent itself for a while, so others may be about to take its share back: it writes
    /// even what the item says already, and who is about to write must look at it again.
    pub back: bool,
}

impl<'a> Life<'a> {
    /// A life that knows of no others.
    #[must_use]
    pub fn of(session: &'a EdgeSession) -> Self {
        Self { session, elders: &[], silent: &[], back: false }
    }
}

impl Store {
    /// Says what the edge uses and needs, and gives it its share and where the strike clock
    /// stands. Call it every 5 s ([`tollgate_domain::strike::SAMPLE`]) for each active customer
    /// with a limit, and sooner where something is lacking.
    ///
    /// Writes only if figures, terms or the clock changed. The write that strikes sets
    /// `locked_until` and tells all edges ([`Entity::Share`]) in one transaction; so does one that
    /// wants what others hold ([`Entity::ShareWanted`]).
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat, with the same `usage.refused`. The edge's own limits must
    /// stay as they are then.
    pub async fn report_share(
        &self,
        customer: &CustomerId,
        life: Life<'_>,
        terms: Terms,
        usage: Usage,
        now: Timestamp,
    ) -> Result<ShareReport, StoreError> {
        let key = keys::cap(customer);
        for attempt in 0..ATTEMPTS {
            let found: Option<Cap> = self.read(&key).await?;
            // After the item: a life that has come back since is seen, or has written since.
            let dead = self.dead(found.as_ref(), life.silent).await?;
            let mut cap = found.clone().unwrap_or_default();
            let answer = cap.report(life.session, Others { elders: life.elders, dead: &dead }, terms, usage, now);
            let report = ShareReport {
                limits: cap.terms.limits,
                held: answer.held,
                may: answer.may,
                in_use_total: cap.in_use(),
                strike_since: cap.strike.since,
                locked_until: cap.strike.locked_until,
                others: cap.nodes.keys().filter(|s| *s != life.session).cloned().collect(),
            };
            if !life.back && found.as_ref().is_some_and(|f| f.says_the_same_as(&cap)) {
                return Ok(report);
            }
            let mut told = Vec::new();
            if answer.struck {
                told.push(Entity::Share(customer.clone()));
            }
            if cap.asks_for_more_than(found.as_ref(), life.session) {
                told.push(Entity::ShareWanted(customer.clone()));
            }
            let replace = || replace_cap(customer, found.as_ref(), &cap);
            let done = if told.is_empty() {
                self.write(replace).await.map(drop)
            } else {
                self.transact(|| {
                    let mut writes = vec![replace()?];
                    for entity in &told {
                        writes.push(announce(entity, cap.ver, now)?);
                    }
                    Ok(writes)
                })
                .await
            };
            match done {
                Ok(()) => return Ok(report),
                Err(Failure::Condition(_)) => tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(kept_changing(customer))
    }

    /// Of the silent that have shares here, those that are silent still.
    async fn dead(&self, cap: Option<&Cap>, silent: &[Silent]) -> Result<Vec<EdgeSession>, StoreError> {
        let mut dead = Vec::new();
        for one in silent {
            if !cap.is_some_and(|c| c.nodes.contains_key(&one.session)) {
                continue;
            }
            let row = self.edge(&one.session.edge).await?;
            if row.and_then(|row| row.sign(&one.session)) == one.sign {
                dead.push(one.session.clone());
            }
        }
        Ok(dead)
    }

    /// Keeps of the share of `session`, which hands over to its successor, what its `in_use`
    /// tunnels need.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn withdraw_share(
        &self,
        customer: &CustomerId,
        session: &EdgeSession,
        in_use: u32,
    ) -> Result<(), StoreError> {
        self.change_cap(customer, |cap| cap.withdraw(session, in_use)).await
    }

    /// Gives back the share of `session`, if it holds one.
    ///
    /// # Errors
    /// [`StoreError`]; safe to repeat.
    pub async fn leave_share(&self, customer: &CustomerId, session: &EdgeSession) -> Result<(), StoreError> {
        self.change_cap(customer, |cap| {
            cap.leave(session);
        })
        .await
    }

    /// The split of a customer's capacity.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cap(&self, customer: &CustomerId) -> Result<Option<Cap>, StoreError> {
        self.read(&keys::cap(customer)).await
    }

    /// A write whose answer was lost is found applied by the next attempt, which then changes
    /// nothing more than the version.
    async fn change_cap(&self, customer: &CustomerId, change: impl Fn(&mut Cap)) -> Result<(), StoreError> {
        let key = keys::cap(customer);
        for attempt in 0..ATTEMPTS {
            let Some(found) = self.read::<Cap>(&key).await? else { return Ok(()) };
            let mut cap = found.clone();
            change(&mut cap);
            if found.says_the_same_as(&cap) {
                return Ok(());
            }
            match self.write(|| replace_cap(customer, Some(&found), &cap)).await {
                Ok(_) => return Ok(()),
                Err(Failure::Condition(_)) => tx::pause(attempt).await,
                Err(e) => return Err(e.into_store()),
            }
        }
        Err(kept_changing(customer))
    }
}

fn kept_changing(customer: &CustomerId) -> StoreError {
    StoreError::Unavailable(format!("the share of {customer} kept changing"))
}

/// Puts `cap` in the place of `found`, if nobody changed that.
pub(crate) fn replace_cap(customer: &CustomerId, found: Option<&Cap>, cap: &Cap) -> Result<Write, Failure> {
    let key = keys::cap(customer);
    let put = Write::put(key.clone(), encode(&key, cap, None)?);
    Ok(match found {
        None => put.when(ABSENT),
        Some(f) => put.when("ver = :v").value(":v", n(f.ver)),
    })
}
