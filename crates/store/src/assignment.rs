//! Assignments: `ASG#<line>`, the only pointer from a line to a proxy, and their history.
//!
//! One line has at most one open assignment, because there is one item and it is put only where
//! it is absent, or where the claim in it is one's own or over.

use tollgate_domain::assignment::{Assignment, AssignmentState};
use tollgate_domain::feed::Entity;
use tollgate_domain::id::LineKey;
use tollgate_domain::intent::Intent;
use tollgate_domain::line::Line;
use tollgate_domain::proxy::ProxyIp;
use tollgate_domain::time::Timestamp;

use crate::error::Failure;
use crate::expr::Write;
use crate::feed::announce;
use crate::intent::{SpendCaps, plan};
use crate::item::{Item, decode, encode, n, s};
use crate::line::{closed, count, remind};
use crate::proxy::{FreeProxy, go_idle, take_free};
use crate::{Store, StoreError, Table, keys};

/// How long the history of assignments is kept.
const HISTORY_KEPT: std::time::Duration = std::time::Duration::from_secs(400 * 86_400);

/// How a claim finds its line.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// Closed, or not there: the claim opens it.
    Closed(&'a Opening),
    /// Open, and nobody of this attempt has claimed it.
    Open,
    /// Claimed by this attempt.
    Claimed,
}

/// What opening a line writes along with a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The line as it will be stored; `ver` is the one it will have.
    pub line: Line,
    /// Whether it was stored (closed) before; its version then is `line.ver - 1`.
    pub reopened: bool,
    /// Most lines (or sessions) open at a time; 0 = unlimited.
    pub max_open: u32,
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Ours, now or by a call whose answer was lost.
    Won,
    /// Another attempt holds the line, or it is bound: this is the assignment.
    LineTaken(Box<Assignment>),
    /// The proxy went to somebody else; the line is still free.
    ProxyGone,
    /// Another transaction was in the way; nothing is known of either.
    Conflict,
    /// The line changed since it was read.
    LineChanged,
    /// As many lines are open as the plan allows.
    TooManyOpen,
    /// The provider's spending of the day does not allow it.
    ProviderCap,
    /// The customer's spending of the day does not allow it.
    CustomerCap,
}

enum Part {
    Assignment,
    Line,
    Count,
    ProviderSpend,
    CustomerSpend,
    Proxy,
    Other,
}

type Parts = Vec<(Part, Write)>;

/// The writes that put `claim` on its line, and the conditions under which they may.
fn claim_writes(claim: &Assignment, found: Found<'_>, now: Timestamp) -> Result<Parts, Failure> {
    let mut parts = vec![(Part::Assignment, claim_write(claim, found, now)?)];
    match found {
        Found::Closed(opening) => parts.extend(open_writes(opening)?),
        // Counted up, so that whoever closes it meanwhile looks again and sees the claim.
        Found::Open => parts.push((Part::Line, still_open(&claim.line))),
        Found::Claimed => {}
    }
    Ok(parts)
}

fn claim_write(claim: &Assignment, found: Found<'_>, now: Timestamp) -> Result<Write, Failure> {
    let key = keys::assignment(&claim.line);
    let item = encode(&key, claim, None)?;
    if matches!(found, Found::Claimed) {
        // A line that is closed loses its claim: it must not come back on a closed line.
        return Ok(Write::put(key, item)
            .when("#state = :pending AND attempt = :attempt")
            .name("#state", "state")
            .value(":pending", s("pending"))
            .value(":attempt", s(&claim.attempt)));
    }
    // An expired claim that still names an intent is not over: its purchase may have happened.
    Ok(Write::put(key, item)
        .when(
            "attribute_not_exists(pk) OR #state = :rebinding OR (#state = :pending AND \
             (attempt = :attempt OR (#until < :now AND attribute_not_exists(intent))))",
        )
        .name("#state", "state")
        .name("#until", "until")
        .value(":rebinding", s("rebinding"))
        .value(":pending", s("pending"))
        .value(":attempt", s(&claim.attempt))
        .value(":now", n(now.as_millis())))
}

fn open_writes(opening: &Opening) -> Result<Parts, Failure> {
    let line = &opening.line;
    let key = keys::line(&line.key);
    let item = encode(&key, line, None)?;
    let put = Write::put(key, item);
    let put = if opening.reopened {
        put.when("ver = :before AND #state = :closed")
            .name("#state", "state")
            .value(":before", n(line.ver - 1))
            .value(":closed", s("closed"))
    } else {
        put.when(crate::expr::ABSENT)
    };
    let session = line.alias.is_some();
    let mut parts = vec![(Part::Line, put), (Part::Count, count(&line.key.customer, session, 1, opening.max_open))];
    if let Some(at) = line.close_due {
        parts.push((Part::Other, remind(&line.key, at)));
    }
    Ok(parts)
}

impl Store {
    /// The open assignment of a line.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn assignment(&self, line: &LineKey) -> Result<Option<Assignment>, StoreError> {
        self.read(&keys::assignment(line)).await
    }

    /// Closed assignments of a line, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn past_assignments(&self, line: &LineKey) -> Result<Vec<Assignment>, StoreError> {
        let pk = keys::assignment_history(line, Timestamp::default()).pk;
        self.query_prefix(Table::Inventory, &pk, "").await?.into_iter().map(decode).collect()
    }

    /// Binds `claim.line` to an idle address, opening the line if need be: one transaction, sent
    /// once. The address leaves the free list in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_idle(
        &self,
        claim: &Assignment,
        found: Found<'_>,
        free: &FreeProxy,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let mut parts = claim_writes(claim, found, now).map_err(Failure::into_store)?;
        parts.extend(take_free(free, &claim.line).into_iter().map(|w| (Part::Proxy, w)));
        self.send_claim(claim, parts).await
    }

    /// Claims the line for a purchase: the pending assignment and the planned intent, within the
    /// caps, in one transaction, sent once. Nothing has been bought, nothing is called.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_to_buy(
        &self,
        claim: &Assignment,
        found: Found<'_>,
        intent: &Intent,
        caps: SpendCaps,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let mut parts = claim_writes(claim, found, now).map_err(Failure::into_store)?;
        let [row, entry, provider, customer] = plan(intent, caps).map_err(Failure::into_store)?;
        parts.push((Part::Other, row));
        parts.push((Part::Other, entry));
        parts.push((Part::ProviderSpend, provider));
        parts.push((Part::CustomerSpend, customer));
        self.send_claim(claim, parts).await
    }

    /// Opens a session that uses `opening.line.alias`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_session(&self, opening: &Opening) -> Result<Claim, StoreError> {
        let parts = open_writes(opening).map_err(Failure::into_store)?;
        let (tags, writes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        match self.transact_once(writes).await {
            Ok(()) => Ok(Claim::Won),
            Err(Failure::Conflict) => Ok(Claim::Conflict),
            Err(Failure::Condition(failed)) => Ok(match failed.first().and_then(|(at, _)| tags.get(*at)) {
                Some(Part::Count) => Claim::TooManyOpen,
                _ => Claim::LineChanged,
            }),
            Err(Failure::Store(e)) => Err(e),
        }
    }

    async fn send_claim(&self, claim: &Assignment, parts: Parts) -> Result<Claim, StoreError> {
        let (tags, writes): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        match self.transact_once(writes).await {
            Ok(()) => Ok(Claim::Won),
            Err(Failure::Conflict) => Ok(Claim::Conflict),
            Err(Failure::Condition(failed)) => read_claim(claim, &tags, failed),
            Err(Failure::Store(e)) => Err(e),
        }
    }

    /// Notes that the claim's purchase is resolved without an address, so that the walk can go
    /// on (or another attempt take over). Only by the claim's own attempt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        let result = self
            .write(|| {
                Ok(Write::update(keys::assignment(&intent.line), "REMOVE intent")
                    .when("attempt = :attempt AND intent = :intent")
                    .value(":attempt", s(&intent.attempt))
                    .value(":intent", s(&intent.id)))
            })
            .await;
        match result {
            Ok(_) | Err(Failure::Condition(_)) => Ok(()),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Gives up a pending claim that found nothing; a line that this attempt opened is closed
    /// again. Anything else is left as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn abandon_claim(&self, claim: &Assignment, opened: bool, now: Timestamp) -> Result<(), StoreError> {
        let line = if opened { self.line(&claim.line).await? } else { None };
        let result = self
            .transact(|| {
                let mut writes = vec![
                    Write::delete(keys::assignment(&claim.line))
                        .when("#state = :pending AND attempt = :attempt")
                        .name("#state", "state")
                        .value(":pending", s("pending"))
                        .value(":attempt", s(&claim.attempt)),
                ];
                if let Some(l) = &line {
                    writes.push(closed(l, now)?);
                    writes.push(count(&l.key.customer, false, -1, 0));
                }
                Ok(writes)
            })
            .await;
        match result {
            Ok(()) | Err(Failure::Condition(_)) => Ok(()),
            Err(e) => Err(e.into_store()),
        }
    }

    /// Closes a line and its assignment, tells the edges, and puts the proxy it held (as it was
    /// read) on the free list until `due`. One transaction. `false`: something changed since it
    /// was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_line(
        &self,
        line: &Line,
        assignment: Option<&Assignment>,
        proxy: Option<(&ProxyIp, Timestamp, Timestamp)>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let entity = Entity::Line(line.key.clone());
        let result = self
            .transact(|| {
                let mut close = closed(line, now)?;
                if let Some((p, _, _)) = proxy {
                    close = close.and_set(", last_proxy = :proxy", ":proxy", crate::item::value(&p.id)?);
                }
                let mut writes =
                    vec![close, count(&line.key.customer, false, -1, 0), announce(&entity, line.ver + 1, now)?];
                if let Some(at) = line.close_due {
                    writes.push(Write::delete(keys::line_due(&line.key, at)));
                }
                writes.push(gone(&line.key, assignment)?);
                if let Some(a) = assignment.filter(|a| a.state != AssignmentState::Pending) {
                    let key = keys::assignment_history(&line.key, a.since);
                    let mut item = encode(&key, a, Some(now.plus(HISTORY_KEPT)))?;
                    item.insert("released_at".to_owned(), n(now.as_millis()));
                    writes.push(Write::put(key, item));
                }
                if let Some((p, due, paid_until)) = proxy {
                    writes.extend(go_idle(p, now, due, paid_until)?);
                }
                Ok(writes)
            })
            .await;
        match result {
            Ok(()) => Ok(true),
            Err(Failure::Condition(_)) => Ok(false),
            Err(e) => Err(e.into_store()),
        }
    }
}

/// The write that counts up an open line; a closed one fails it.
fn still_open(line: &LineKey) -> Write {
    Write::update(keys::line(line), "SET ver = ver + :one")
        .when("#state = :open")
        .name("#state", "state")
        .value(":open", s("open"))
        .value(":one", n(1))
}

/// The write that removes a line's assignment, if it is still as it was read: a claim that was
/// made or bound meanwhile must not stay on a closed line.
fn gone(line: &LineKey, read: Option<&Assignment>) -> Result<Write, Failure> {
    let delete = Write::delete(keys::assignment(line));
    let Some(a) = read else { return Ok(delete.when(crate::expr::ABSENT)) };
    Ok(delete
        .when("ver = :ver AND attempt = :attempt AND #state = :state")
        .name("#state", "state")
        .value(":ver", n(a.ver))
        .value(":attempt", s(&a.attempt))
        .value(":state", crate::item::value(&a.state)?))
}

/// What failed conditions say about a claim. The line's own item speaks first.
fn read_claim(claim: &Assignment, tags: &[Part], failed: Vec<(usize, Option<Item>)>) -> Result<Claim, StoreError> {
    let mut verdict = Claim::LineChanged;
    for (at, item) in failed {
        match tags.get(at) {
            Some(Part::Assignment) => {
                let Some(found) = item.map(decode::<Assignment>).transpose()? else { continue };
                let ours = found.attempt == claim.attempt && found.state == AssignmentState::Bound;
                return Ok(if ours && found.proxy == claim.proxy {
                    Claim::Won
                } else {
                    Claim::LineTaken(Box::new(found))
                });
            }
            Some(Part::Count) => return Ok(Claim::TooManyOpen),
            Some(Part::ProviderSpend) => verdict = Claim::ProviderCap,
            Some(Part::CustomerSpend) => verdict = Claim::CustomerCap,
            Some(Part::Proxy) => verdict = Claim::ProxyGone,
            Some(Part::Line) => return Ok(Claim::LineChanged),
            Some(Part::Other) | None => {}
        }
    }
    Ok(verdict)
}
