//! What the demo shows for itself: steps, bytes by everyone who counts, money by the provider's
//! own ledger.

use std::fmt::Write as _;

use serde::Serialize;
use tollgate_domain::money::Money;

use crate::demo::client::Bytes;

/// One step of the walk over the chain.
#[derive(Clone, Debug, Serialize)]
pub struct HopShown {
    /// The country tried.
    pub country: String,
    /// What came of it.
    pub outcome: String,
    /// States of the intent written for it, in order.
    pub intent: Vec<String>,
}

/// One step of the story.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// What happened.
    pub what: String,
    /// Seconds of the story so far, by the wall clock that jumps.
    pub at_s: u64,
    /// The country asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// The country given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// The address that served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The walk that led to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<HopShown>,
}

/// Bytes as everyone counted them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counted {
    /// By the client.
    pub client: Bytes,
    /// By the edge.
    pub edge: Bytes,
    /// By the simulated super-proxy; none where its legs carry other heads than the client's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulator: Option<Bytes>,
    /// By the rows in the store.
    pub store: Bytes,
}

impl Counted {
    fn equal(&self) -> bool {
        let all = [Some(self.edge), self.simulator, Some(self.store)];
        all.into_iter().flatten().all(|b| b == self.client)
    }
}

/// One bought address in the provider's ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Bought {
    /// The address.
    pub ip: String,
    /// Its country.
    pub country: String,
    /// When it was bought.
    pub bought_at: String,
    /// When it was given back.
    pub released_at: Option<String>,
    /// Until when it is paid.
    pub paid_until: String,
    /// Number of payments.
    pub payments: usize,
    /// Their sum, in micro-dollars.
    pub paid_micros: u64,
}

/// The money.
#[derive(Clone, Debug, Serialize)]
pub struct Bill {
    /// The provider's ledger.
    pub ledger: Vec<Bought>,
    /// Its sum, in micro-dollars.
    pub paid_micros: u64,
    /// Its sum two months later.
    pub paid_later_micros: u64,
    /// Confirmed intents, and the sum of their prices in micro-dollars.
    pub intents_confirmed: usize,
    /// As said.
    pub intents_micros: u64,
    /// Lines that were served by an address already paid for.
    pub recycled: usize,
    /// What buying those addresses anew would have cost, in micro-dollars.
    pub saved_micros: u64,
}

/// The whole receipt.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    /// The story.
    pub steps: Vec<Step>,
    /// Payload of tunnels.
    pub tunnels: Counted,
    /// Plain requests, heads included.
    pub requests: Counted,
    /// Bytes charged to the customer's allowance.
    pub charged_bytes: u64,
    /// The money.
    pub bill: Bill,
    /// What does not agree; empty = all is well.
    pub problems: Vec<String>,
}

impl Receipt {
    /// What does not agree.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut hold = |holds: bool, what: &str| {
            if !holds {
                problems.push(what.to_owned());
            }
        };
        hold(self.tunnels.equal(), "client, edge, simulator and store counted different tunnel bytes");
        hold(self.requests.equal(), "client, edge and store counted different request bytes");
        hold(self.tunnels.client.up > 0 && self.tunnels.client.down > 0, "no bytes went through a tunnel");
        let all = self.tunnels.client.plus(self.requests.client).total();
        hold(self.charged_bytes == all, "the allowance was charged another amount");
        let b = &self.bill;
        hold(
            b.intents_confirmed == b.ledger.len(),
            "the provider sold another number of addresses than intents confirm",
        );
        hold(b.intents_micros == b.paid_micros, "the provider charged another sum than intents say");
        hold(b.ledger.iter().all(|row| row.released_at.is_some()), "an address was not given back");
        hold(b.paid_later_micros == b.paid_micros, "billing went on after the release");
        hold(b.recycled > 0, "nothing was recycled");
        problems
    }

    /// For people.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::from("RECEIPT (the provider is SIMULATED)\n\n");
        for (n, step) in self.steps.iter().enumerate() {
            let _ = writeln!(out, "{}. {:>6} s  {}", n + 1, step.at_s, step.what);
            if let (Some(asked), Some(given), Some(ip)) = (&step.asked, &step.given, &step.ip) {
                let _ = writeln!(out, "            asked {asked}, given {given}: {ip}");
            }
            for hop in &step.hops {
                let intent = if hop.intent.is_empty() {
                    String::new()
                } else {
                    format!("  intent {}", hop.intent.join(" → "))
                };
                let _ = writeln!(out, "            {} {}{intent}", hop.country, hop.outcome);
            }
        }
        let _ = writeln!(out, "\nBYTES          {:>12} {:>12} {:>12} {:>12}", "client", "edge", "simulator", "store");
        for (name, c) in [("tunnels", &self.tunnels), ("requests", &self.requests)] {
            for (way, pick) in [("up", up as fn(Bytes) -> u64), ("down", down)] {
                let simulator = c.simulator.map_or_else(|| "-".to_owned(), |b| pick(b).to_string());
                let (client, edge, store) = (pick(c.client), pick(c.edge), pick(c.store));
                let _ = writeln!(out, "{name:<9} {way:<4} {client:>12} {edge:>12} {simulator:>12} {store:>12}");
            }
        }
        let _ = writeln!(out, "charged to the customer's allowance: {} bytes", self.charged_bytes);
        let money = |micros| Money::usd_micros(micros).to_string();
        let b = &self.bill;
        let _ = writeln!(out, "\nMONEY, by the provider's ledger");
        for row in &b.ledger {
            let released = row.released_at.as_deref().unwrap_or("not given back");
            let _ = writeln!(
                out,
                "{} {}: {} in {} payment(s), bought {}, released {released}, paid until {}",
                row.ip,
                row.country,
                money(row.paid_micros),
                row.payments,
                row.bought_at,
                row.paid_until,
            );
        }
        let (paid, later) = (money(b.paid_micros), money(b.paid_later_micros));
        let _ = writeln!(out, "paid {paid} for {} address(es); two months later: {later}", b.ledger.len());
        let _ = writeln!(out, "intents confirmed: {} for {}", b.intents_confirmed, money(b.intents_micros));
        let _ = writeln!(out, "recycling saved {} in {} assignment(s)", money(b.saved_micros), b.recycled);
        match self.problems.as_slice() {
            [] => out.push_str("\nEverything agrees.\n"),
            problems => {
                for problem in problems {
                    let _ = writeln!(out, "\nDOES NOT AGREE: {problem}");
                }
            }
        }
        out
    }
}

fn up(b: Bytes) -> u64 {
    b.up
}

fn down(b: Bytes) -> u64 {
    b.down
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        let (t, r) = (Bytes { up: 10, down: 20 }, Bytes { up: 1, down: 2 });
        Receipt {
            steps: Vec::new(),
            tunnels: Counted { client: t, edge: t, simulator: Some(t), store: t },
            requests: Counted { client: r, edge: r, simulator: None, store: r },
            charged_bytes: 33,
            bill: Bill {
                ledger: vec![Bought {
                    ip: "203.0.113.1".into(),
                    country: "nl".into(),
                    bought_at: "t0".into(),
                    released_at: Some("t1".into()),
                    paid_until: "t2".into(),
                    payments: 1,
                    paid_micros: 4_000_000,
                }],
                paid_micros: 4_000_000,
                paid_later_micros: 4_000_000,
                intents_confirmed: 1,
                intents_micros: 4_000_000,
                recycled: 1,
                saved_micros: 4_000_000,
            },
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_receipt_that_agrees_has_no_problems() {
        assert_eq!(receipt().check(), Vec::<String>::new());
        assert!(receipt().render().contains("recycling saved 4.00 USD in 1 assignment(s)"));
    }

    #[test]
    fn one_byte_or_one_cent_more_anywhere_is_a_problem() {
        let wrong: [fn(&mut Receipt); 10] = [
            |r| r.tunnels.edge.up += 1,
            |r| r.tunnels.simulator = Some(Bytes { up: 10, down: 21 }),
            |r| r.tunnels.store.down -= 1,
            |r| r.requests.store.up += 1,
            |r| r.charged_bytes += 1,
            |r| r.bill.intents_confirmed += 1,
            |r| r.bill.intents_micros += 10_000,
            |r| r.bill.ledger[0].released_at = None,
            |r| r.bill.paid_later_micros += 4_000_000,
            |r| r.bill.recycled = 0,
        ];
        for change in wrong {
            let mut r = receipt();
            change(&mut r);
            r.problems = r.check();
            assert_eq!(r.problems.len(), 1, "{:?}", r.problems);
            assert!(r.render().contains("DOES NOT AGREE"));
        }
    }
}
