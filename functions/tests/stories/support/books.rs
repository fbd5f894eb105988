//! The checker: the store's items, read raw, against each other and against the provider's own
//! books. It shares no code with the product.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Value, json};

use super::{PRICE, Rig};

/// Everything that the tables hold, by what it is.
pub struct Books {
    items: Vec<Value>,
    held: BTreeSet<String>,
    bought: BTreeSet<String>,
}

impl Books {
    pub async fn of(rig: &Rig) -> Self {
        let db = rig.engine.client();
        let mut items = Vec::new();
        for table in ["accounts", "inventory"] {
            let mut pages = db.scan().table_name(table).into_paginator().items().send();
            while let Some(item) = pages.next().await {
                items.push(plain(&AttributeValue::M(item.unwrap())));
            }
        }
        let held = rig.sandbox.held().iter().map(|(ip, _)| ip.to_string()).collect();
        let calls = rig.sandbox.purchases();
        let bought = calls.iter().flat_map(|p| &p.bought).map(ToString::to_string).collect();
        Self { items, held, bought }
    }

    /// Items whose partition key starts with `prefix`.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Value> {
        self.items.iter().filter(move |i| text(&i["pk"]).starts_with(prefix))
    }

    pub fn intents(&self, state: &str) -> usize {
        self.under("INT#").filter(|i| i["state"] == state).count()
    }

    pub fn proxies(&self, state: &str) -> usize {
        self.under("IP#").filter(|i| i["state"] == state).count()
    }

    pub fn free(&self, country: &str) -> usize {
        self.under(&format!("FREE#{country}#")).count()
    }

    pub fn open_lines(&self) -> usize {
        self.under("LINE#").filter(|l| l["state"] == "open").count()
    }

    /// What must hold at every instant, whatever was interrupted.
    pub fn always(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.one_line_one_proxy(&mut wrong);
        self.free_lists(&mut wrong);
        self.counters(&mut wrong);
        self.spending(&mut wrong);
        wrong
    }

    /// What must hold once the reconciler and the sweeper have been here and nothing is under way.
    pub fn settled(&self) -> Vec<String> {
        let mut wrong = self.always();
        let ours: BTreeSet<_> = self
            .under("IP#")
            .filter(|p| p["state"] != "released" && p["state"] != "lost")
            .map(|p| text(&p["sk"]).to_owned())
            .collect();
        wrong.extend(self.held.difference(&ours).map(|ip| format!("orphan: {ip} is paid and not ours")));
        wrong.extend(ours.difference(&self.held).map(|ip| format!("ghost: {ip} is ours and not held")));
        wrong.extend(self.under("OPEN#").map(|o| format!("intent {} is still open", o["sk"])));
        wrong.extend(
            self.under("INT#")
                .filter(|i| i["state"] != "confirmed" && i["state"] != "failed")
                .map(|i| format!("intent {} is {}", i["id"], i["state"])),
        );
        let adopted =
            self.under("IP#").filter(|p| p["intent"].is_null() && self.bought.contains(text(&p["sk"]))).count();
        let confirmed = self.intents("confirmed");
        if confirmed + adopted != self.bought.len() {
            let n = self.bought.len();
            wrong.push(format!("{n} bought, but {confirmed} confirmed and {adopted} adopted"));
        }
        wrong
    }

    /// Every open line of a customer has a proxy, and nothing waits.
    pub fn every_line_bound(&self) -> Vec<String> {
        let bound: BTreeSet<_> = self.bound().map(|(line, _)| line).collect();
        let open = self.under("LINE#").filter(|l| l["state"] == "open" && l["alias"].is_null());
        open.map(|l| line_of(&l["key"])).filter(|l| !bound.contains(l)).map(|l| format!("{l} has no proxy")).collect()
    }

    fn bound(&self) -> impl Iterator<Item = (String, String)> {
        self.under("ASG#")
            .filter(|a| a["state"] == "bound")
            .map(|a| (line_of(&a["line"]), format!("{}/{}", text(&a["proxy"]["provider"]), text(&a["proxy"]["ip"]))))
    }

    fn one_line_one_proxy(&self, wrong: &mut Vec<String>) {
        let open: BTreeSet<_> =
            self.under("LINE#").filter(|l| l["state"] == "open").map(|l| line_of(&l["key"])).collect();
        let mut holders: BTreeMap<String, String> = BTreeMap::new();
        for (line, proxy) in self.bound() {
            if !open.contains(&line) {
                wrong.push(format!("{line} is closed and holds {proxy}"));
            }
            if let Some(other) = holders.insert(proxy.clone(), line.clone()) {
                wrong.push(format!("{proxy} serves {line} and {other}"));
            }
        }
        for a in self.under("ASG#").filter(|a| a["state"] == "pending") {
            if !open.contains(&line_of(&a["line"])) {
                wrong.push(format!("{} is closed and claimed", line_of(&a["line"])));
            }
        }
        for p in self.under("IP#").filter(|p| p["state"] == "active") {
            let id = format!("{}/{}", text(&p["id"]["provider"]), text(&p["id"]["ip"]));
            let holder = holders.remove(&id);
            if holder.as_deref() != Some(&line_of(&p["line"])) {
                wrong.push(format!("{id} is active for {} and held by {holder:?}", line_of(&p["line"])));
            }
        }
        wrong.extend(holders.into_iter().map(|(p, l)| format!("{l} holds {p}, which is not active")));
    }

    fn free_lists(&self, wrong: &mut Vec<String>) {
        let ips = |prefix: &str, state: Option<&str>| -> BTreeSet<String> {
            let of = self.under(prefix).filter(|p| state.is_none_or(|s| p["state"] == s));
            of.map(|p| format!("{}/{}", text(&p["id"]["provider"]), text(&p["id"]["ip"]))).collect()
        };
        let (free, idle) = (ips("FREE#", None), ips("IP#", Some("idle")));
        if free != idle {
            wrong.push(format!("free list {free:?} is not what is idle {idle:?}"));
        }
        let reminders: BTreeSet<_> = self.under("IPDUE#").map(|r| text(&r["sk"]).to_owned()).collect();
        for p in self.under("IP#").filter(|p| p["state"] == "idle" || p["state"] == "releasing") {
            let reminder =
                format!("{:015}#{}/{}", p["due"].as_u64().unwrap(), text(&p["id"]["provider"]), text(&p["id"]["ip"]));
            if !reminders.contains(&reminder) {
                wrong.push(format!("nothing reminds of {}: {reminder}", p["sk"]));
            }
        }
    }

    fn counters(&self, wrong: &mut Vec<String>) {
        let mut open: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for l in self.under("LINE#").filter(|l| l["state"] == "open") {
            let n = open.entry(text(&l["key"]["customer"]).to_owned()).or_default();
            if l["alias"].is_null() { n.0 += 1 } else { n.1 += 1 }
        }
        let counted: BTreeMap<_, _> = self
            .under("LINES#")
            .map(|c| {
                let n = |k: &str| c[k].as_u64().unwrap_or(if c[k].is_null() { 0 } else { u64::MAX });
                (text(&c["pk"]).trim_start_matches("LINES#").to_owned(), (n("lines"), n("sessions")))
            })
            .filter(|(_, n)| *n != (0, 0))
            .collect();
        if counted != open {
            wrong.push(format!("counted {counted:?}, open {open:?}"));
        }
    }

    /// What is counted as spent is what is not proven unbought: the sum of intents not failed.
    fn spending(&self, wrong: &mut Vec<String>) {
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        for i in self.under("INT#").filter(|i| i["state"] != "failed") {
            let price = i["price"]["micros"].as_u64().unwrap();
            assert_eq!(price, PRICE);
            *expected.entry(format!("SPEND#{}", text(&i["provider"]))).or_default() += price;
            *expected.entry(format!("SPENDC#{}", text(&i["line"]["customer"]))).or_default() += price;
        }
        let mut spent: BTreeMap<String, u64> = BTreeMap::new();
        for s in self.under("SPEND") {
            let n = s["spent"].as_u64().unwrap_or(u64::MAX);
            *spent.entry(text(&s["pk"]).to_owned()).or_default() += n;
        }
        spent.retain(|_, n| *n > 0);
        if spent != expected {
            wrong.push(format!("spent {spent:?}, expected {expected:?}"));
        }
    }
}

/// Fails the test with everything that is wrong.
pub fn none(what: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

fn line_of(key: &Value) -> String {
    format!("{}#{}", text(&key["customer"]), text(&key["label"]))
}

fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

fn plain(v: &AttributeValue) -> Value {
    match v {
        AttributeValue::S(s) => json!(s),
        AttributeValue::N(n) => serde_json::from_str(n).unwrap(),
        AttributeValue::Bool(b) => json!(b),
        AttributeValue::L(l) => l.iter().map(plain).collect(),
        AttributeValue::M(m) => Value::Object(m.iter().map(|(k, v)| (k.clone(), plain(v))).collect::<Map<_, _>>()),
        AttributeValue::Null(_) => Value::Null,
        other => panic!("no such attribute is written: {other:?}"),
    }
}
