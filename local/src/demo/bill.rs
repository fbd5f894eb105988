//! The money: the provider's own ledger beside our intents.

use std::time::Duration;

use tollgate_domain::assignment::Assignment;
use tollgate_domain::intent::{Intent, IntentState};
use tollgate_domain::time::Clock as _;
use tollgate_sandbox::LedgerRow;

use crate::demo::receipt::{Bill, Bought};
use crate::system::System;

/// How much later nothing more may have been charged: more than two billing periods.
const LATER: Duration = Duration::from_secs(61 * 86_400);

/// The bill of a story with these assignments and purchases.
pub fn bill(system: &System, assignments: &[Assignment], intents: &[Intent]) -> Bill {
    let now = system.clock.now();
    let rows = system.sandbox.ledger(now);
    let confirmed = intents.iter().filter(|i| i.state == IntentState::Confirmed).collect::<Vec<_>>();
    let recycled = assignments.iter().filter(|a| a.hops.last().is_some_and(|h| h.outcome == "recycled"));
    // Without recycling, each of these lines would have paid what its address cost when new.
    let instead = recycled.clone().filter_map(|a| {
        let ip = &a.proxy.as_ref()?.ip;
        let row = rows.iter().rev().find(|r| r.ip.to_string() == *ip)?;
        Some(row.charges.first()?.micros)
    });
    Bill {
        ledger: rows.iter().map(bought).collect(),
        paid_micros: sum(&rows),
        paid_later_micros: sum(&system.sandbox.ledger(now.plus(LATER))),
        intents_confirmed: confirmed.len(),
        intents_micros: confirmed.iter().map(|i| i.price.micros).sum(),
        recycled: recycled.count(),
        saved_micros: instead.sum(),
    }
}

fn sum(rows: &[LedgerRow]) -> u64 {
    rows.iter().map(LedgerRow::total_micros).sum()
}

fn bought(row: &LedgerRow) -> Bought {
    Bought {
        ip: row.ip.to_string(),
        country: row.country.clone(),
        bought_at: row.bought_at.to_string(),
        released_at: row.released_at.map(|t| t.to_string()),
        paid_until: row.paid_until().to_string(),
        payments: row.charges.len(),
        paid_micros: row.total_micros(),
    }
}
