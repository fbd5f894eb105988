//! The main story, played through the doors that customers use; what it checks on the way, it
//! reads where operators would.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use tollgate_domain::assignment::Assignment;
use tollgate_domain::id::{LineKey, LineLabel};
use tollgate_domain::intent::Intent;
use tollgate_domain::line::{DISCONNECT_AFTER, LineState};
use tollgate_domain::proxy::{ProxyIp, ProxyState};
use tollgate_domain::time::{Clock as _, Timestamp};

use crate::demo::bill::bill;
use crate::demo::client::{Bytes, Client, Tunnel};
use crate::demo::counts;
use crate::demo::receipt::{Counted, HopShown, Receipt, Step};
use crate::demo::watch::until;
use crate::failure::Failure;
use crate::seed::{self, store};
use crate::system::System;

/// What the customer asks for, and where tunnels lead.
const ASKED: &str = "be";
const ORIGIN: &str = "origin.test";
const TUNNEL_TO: &str = "origin.test:80";
/// Payload of the tunnels: larger than one operation of the meter, and not a round number.
const DOWNLOAD: usize = 300_007;
const UPLOAD: usize = 100_003;
/// A little more than the time that a rule names, so that it has passed.
const MARGIN: Duration = Duration::from_secs(1);
/// An edge must have heard of a closed line after this.
const REACH: Duration = Duration::from_secs(2);

/// The story as it goes on.
struct Story<'a> {
    system: &'a System,
    began: Timestamp,
    steps: Vec<Step>,
    assignments: Vec<Assignment>,
    intents: Vec<Intent>,
    tunnels: Bytes,
    /// What the simulator had counted before the first tunnel.
    before_tunnels: Bytes,
}

/// Plays the story to its end.
///
/// # Errors
/// [`Failure::Demo`] with the first thing that did not go as it should.
pub async fn play(system: &System) -> Result<Receipt, Failure> {
    let began = system.clock.now();
    let mut story = Story {
        system,
        began,
        steps: Vec::new(),
        assignments: Vec::new(),
        intents: Vec::new(),
        tunnels: Bytes::default(),
        before_tunnels: Bytes::default(),
    };
    let (first, second) = (line("chip1"), line("chip2"));
    let requests = story.first_request(&first).await?;
    let tunnels = story.tunnels_over(&first).await?;
    story.quiet_line_closes(&first, tunnels).await?;
    let tunnel = story.another_line_recycles(&second).await?;
    story.closed_by_the_api(&second, tunnel).await?;
    story.released_after_an_hour().await?;
    story.receipt(requests).await
}

fn line(label: &str) -> LineKey {
    let label = match LineLabel::new(label) {
        Ok(label) => label,
        Err(e) => unreachable!("{e}"),
    };
    LineKey { customer: seed::demo(), label }
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Demo(what.into()))
}

impl Story<'_> {
    fn client(&self, line: &LineKey) -> Client {
        let user = format!("{}-line-{}-country-{ASKED}", self.system.keys.user, line.label);
        Client::new(self.system.at.gateway, &user, self.system.keys.password.clone())
    }

    fn step(&mut self, what: impl Into<String>) -> &mut Step {
        let at_s = self.system.clock.now().since(self.began).as_secs();
        self.steps.push(Step { what: what.into(), at_s, asked: None, given: None, ip: None, hops: Vec::new() });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// Writes a step with the assignment that serves `line` now and the walk that led to it.
    async fn step_with_assignment(&mut self, line: &LineKey, what: &str) -> Result<Assignment, Failure> {
        let Some(assignment) = self.system.platform.store.assignment(line).await.map_err(store)? else {
            return wrong(format!("{line} has no assignment"));
        };
        let mut hops = Vec::new();
        for hop in &assignment.hops {
            let mut intent = Vec::new();
            if let Some(id) = &hop.intent
                && let Some(found) = self.system.platform.store.intent(id).await.map_err(store)?
            {
                intent = found.trail.iter().map(|(state, _)| format!("{state:?}").to_lowercase()).collect();
                if !self.intents.iter().any(|i| i.id == found.id) {
                    self.intents.push(found);
                }
            }
            hops.push(HopShown { country: hop.country.to_string(), outcome: hop.outcome.clone(), intent });
        }
        let step = self.step(what);
        step.asked = Some(assignment.requested.to_string());
        step.given = assignment.country.map(|c| c.to_string());
        step.ip = assignment.proxy.as_ref().map(|p| p.ip.clone());
        step.hops = hops;
        Ok(assignment)
    }

    fn purchases(&self) -> usize {
        self.system.sandbox.ledger(self.system.clock.now()).len()
    }

    /// One plain request on a line that nobody has used: it is sold out in be, nl is bought.
    async fn first_request(&mut self, line: &LineKey) -> Result<Counted, Failure> {
        let (body, bytes) = self.client(line).get(ORIGIN, "/ip").await?;
        let what = "first request: no stock in be, an address bought in nl, the request answered";
        let assignment = self.step_with_assignment(line, what).await?;
        let Some(proxy) = &assignment.proxy else { return wrong("the line is bound to nothing") };
        let seen: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        if seen["ip"] != proxy.ip.as_str() || seen["country"] != "nl" {
            return wrong(format!("the origin saw {seen}, the line holds {proxy}"));
        }
        if self.purchases() != 1 {
            return wrong(format!("{} addresses were sold, not one", self.purchases()));
        }
        self.assignments.push(assignment);
        let edge = counts::by_edge(self.system, bytes).await;
        let store = counts::by_store(self.system, self.began).await?;
        // It counts plain requests with the heads of its own legs: those are not to be compared.
        self.before_tunnels = counts::by_simulator(self.system);
        Ok(Counted { client: bytes, edge, simulator: None, store })
    }

    /// Two tunnels over the same line: the assignment is reused.
    async fn tunnels_over(&mut self, line: &LineKey) -> Result<Vec<Tunnel>, Failure> {
        let client = self.client(line);
        let mut tunnels = vec![client.tunnel(TUNNEL_TO).await?];
        let got = tunnels[0].get(&format!("/bytes/{DOWNLOAD}")).await?;
        if got.len() != DOWNLOAD {
            return wrong("the download is not whole");
        }
        tunnels.push(client.tunnel(TUNNEL_TO).await?);
        let body: Vec<u8> = (0..UPLOAD).map(|n| n.to_le_bytes()[0]).collect();
        if tunnels[1].post("/echo", &body).await? != body {
            return wrong("the echo is another one");
        }
        let now = self.system.platform.store.assignment(line).await.map_err(store)?;
        let same = now.and_then(|a| a.proxy) == self.assignments.last().and_then(|a| a.proxy.clone());
        if !same || self.purchases() != 1 {
            return wrong("the second request did not reuse the assignment");
        }
        self.step("two tunnels over the same line: the assignment is reused, nothing is bought");
        Ok(tunnels)
    }

    /// The last tunnel closes; five minutes later so does the line, and its address is idle.
    async fn quiet_line_closes(&mut self, line: &LineKey, tunnels: Vec<Tunnel>) -> Result<(), Failure> {
        for tunnel in tunnels {
            self.tunnels = self.tunnels.plus(tunnel.close());
        }
        let platform = &self.system.platform;
        until("the edge says that the line is quiet", || async {
            let line = platform.store.line(line).await.map_err(store)?;
            Ok(line.filter(|l| l.open.is_empty() && l.close_due.is_some()))
        })
        .await?;
        self.system.clock.jump(DISCONNECT_AFTER + MARGIN);
        until("the line closes by itself", || async {
            let line = platform.store.line(line).await.map_err(store)?;
            Ok(line.filter(|l| l.state == LineState::Closed))
        })
        .await?;
        self.proxy_is(ProxyState::Idle).await?;
        self.step("five minutes after its last tunnel the line closed; the address is idle");
        Ok(())
    }

    /// Another line wants the same country, and gets the idle address.
    async fn another_line_recycles(&mut self, line: &LineKey) -> Result<Tunnel, Failure> {
        let mut tunnel = self.client(line).tunnel(TUNNEL_TO).await?;
        tunnel.get("/ip").await?;
        let what = "another line wants be: the idle address in nl is recycled, nothing is bought";
        let assignment = self.step_with_assignment(line, what).await?;
        if assignment.proxy != self.assignments.last().and_then(|a| a.proxy.clone()) || self.purchases() != 1 {
            return wrong("the idle address was not recycled");
        }
        self.assignments.push(assignment);
        Ok(tunnel)
    }

    /// The line is closed by the API while a tunnel is open: the edge ends the tunnel.
    async fn closed_by_the_api(&mut self, line: &LineKey, tunnel: Tunnel) -> Result<(), Failure> {
        let url = format!("http://{}/v1/assignments/{}", self.system.at.api, line.label);
        let key = self.system.keys.customer.expose_secret();
        let asked = Instant::now();
        let answer = reqwest::Client::builder().no_proxy().build().map_err(|e| Failure::part("a client", e))?;
        let answer = answer.delete(url).bearer_auth(key).send().await.map_err(|e| Failure::part("the API", e))?;
        if !answer.status().is_success() {
            return wrong(format!("the API answered {}", answer.status()));
        }
        let bytes = tokio::time::timeout(REACH, tunnel.closed()).await;
        let bytes = bytes.map_err(|_| Failure::Demo("the tunnel of a closed line lives on".into()))??;
        self.tunnels = self.tunnels.plus(bytes);
        self.proxy_is(ProxyState::Idle).await?;
        let ms = asked.elapsed().as_millis();
        self.step(format!("the line closed by the API; its live tunnel ended {ms} ms later, the address is idle"));
        Ok(())
    }

    /// One hour idle: given back.
    async fn released_after_an_hour(&mut self) -> Result<(), Failure> {
        let idle = self.proxy_is(ProxyState::Idle).await?;
        let Some(due) = idle.due else { return wrong("an idle address has no time at which it goes back") };
        self.system.clock.jump(due.since(self.system.clock.now()) + MARGIN);
        self.proxy_is(ProxyState::Released).await?;
        if !self.system.sandbox.held().is_empty() {
            return wrong("the provider still holds the address for us");
        }
        self.step("one hour idle: the address was given back at the provider");
        Ok(())
    }

    async fn proxy_is(&self, state: ProxyState) -> Result<ProxyIp, Failure> {
        let Some(id) = self.assignments.last().and_then(|a| a.proxy.clone()) else {
            return wrong("no line was ever bound");
        };
        let db = &self.system.platform.store;
        until(&format!("{id} is {state:?}"), || async {
            Ok(db.proxy(&id).await.map_err(store)?.filter(|p| p.state == state))
        })
        .await
    }

    async fn receipt(self, requests: Counted) -> Result<Receipt, Failure> {
        let all = self.tunnels.plus(requests.client);
        let edge = counts::by_edge(self.system, all).await.since(requests.edge);
        let stored = counts::by_store(self.system, self.began).await?.since(requests.store);
        let simulator = counts::by_simulator(self.system).since(self.before_tunnels);
        let tunnels = Counted { client: self.tunnels, edge, simulator: Some(simulator), store: stored };
        let charged_bytes = counts::charged(self.system).await?;
        let bill = bill(self.system, &self.assignments, &self.intents);
        let mut receipt = Receipt { steps: self.steps, tunnels, requests, charged_bytes, bill, problems: Vec::new() };
        receipt.problems = receipt.check();
        Ok(receipt)
    }
}
