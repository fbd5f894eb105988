//! Sessions never buy: they use what the customer already holds.

use std::collections::BTreeMap;

use tollgate_domain::assignment::{AssignRequest, Assignment, AssignmentState};
use tollgate_domain::country;
use tollgate_domain::id::LineKey;
use tollgate_domain::line::{Hold, Line, LineState};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::username::{LIFE_DEFAULT_MIN, Session};
use tollgate_store::assignment::{Claim, Opening};

use super::{RESTARTS, Stop, in_progress, permitted};
use crate::platform::Platform;

/// The assignment that serves `session`: that of an open line of the customer.
pub(super) async fn assign(
    platform: &Platform,
    request: &AssignRequest,
    session: &Session,
) -> Result<Assignment, Stop> {
    let store = &platform.store;
    for _ in 0..RESTARTS {
        let (customer, own, lines) = tokio::try_join!(
            store.customer(&request.customer),
            store.line(&request.line),
            store.lines(&request.customer),
        )?;
        let Some(customer) = customer else {
            return Err(Refusal::new(Code::NotFound, format!("there is no customer {}", request.customer)).into());
        };
        permitted(&customer, platform)?;
        let now = platform.now();
        let open = own.as_ref().filter(|l| l.state == LineState::Open);
        if let Some(line) = open {
            if let Some(found) = served_by(platform, line).await? {
                return Ok(found);
            }
            // The line it used is gone: it finds another.
            store.close_session(line, now).await?;
            continue;
        }
        let wanted = request.country.map(|c| {
            let mut chain = vec![c];
            if customer.allow_fallback {
                chain.extend(country::chain(c));
            }
            chain
        });
        let Some(found) = holder(platform, &lines, wanted.as_deref()).await? else {
            let detail = format!(
                "session {session} has nothing to use: sessions buy no address, and the customer holds none that fits"
            );
            return Err(Refusal::new(Code::NoProxyAvailable, detail).into());
        };
        let minutes = match request.hold {
            Hold::Minutes(m) => m,
            Hold::Tunnels | Hold::Closed => LIFE_DEFAULT_MIN,
        };
        let line = Line {
            key: request.line.clone(),
            state: LineState::Open,
            country: found.requested,
            class: found.class,
            hold: Hold::Minutes(minutes),
            alias: Some(found.line.label.clone()),
            open: BTreeMap::new(),
            close_due: Some(now.plus(std::time::Duration::from_secs(u64::from(minutes) * 60))),
            ver: own.as_ref().map_or(1, |l| l.ver + 1),
            last_proxy: None,
            opened_at: now,
            closed_at: None,
        };
        let opening = Opening { line, reopened: own.is_some(), max_open: customer.limits.max_sessions };
        match store.open_session(&opening).await? {
            Claim::Won => return Ok(found),
            Claim::TooManyOpen => {
                let max = customer.limits.max_sessions;
                let detail = format!("the plan {} allows {max} sessions at a time", customer.plan);
                return Err(Refusal::new(Code::LinesExceeded, detail).into());
            }
            _ => {}
        }
    }
    Err(in_progress("the session kept changing", 1))
}

async fn served_by(platform: &Platform, session: &Line) -> Result<Option<Assignment>, Stop> {
    let Some(label) = session.alias.clone() else { return Ok(None) };
    let key = LineKey { customer: session.key.customer.clone(), label };
    let found = platform.store.assignment(&key).await?;
    Ok(found.filter(|a| a.state == AssignmentState::Bound))
}

/// An open line of the customer in the first country of `wanted` (any, if none) that has one.
async fn holder(
    platform: &Platform,
    lines: &[Line],
    wanted: Option<&[country::Country]>,
) -> Result<Option<Assignment>, Stop> {
    let mut best: Option<(usize, Assignment)> = None;
    for line in lines.iter().filter(|l| l.state == LineState::Open && l.alias.is_none()) {
        let Some(a) = platform.store.assignment(&line.key).await? else { continue };
        let Some(given) = a.country.filter(|_| a.state == AssignmentState::Bound) else { continue };
        let rank = match wanted {
            None => Some(0),
            Some(chain) => chain.iter().position(|c| *c == given),
        };
        if let Some(rank) = rank
            && best.as_ref().is_none_or(|(r, _)| rank < *r)
        {
            best = Some((rank, a));
        }
    }
    Ok(best.map(|(_, a)| a))
}
