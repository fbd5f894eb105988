//! From a line to the upstream that serves it: cached, else the open assignment, else a question
//! to the assigner. All but the cache runs on the control thread.

use std::sync::Arc;

use secrecy::SecretString;
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, AssignmentState};
use tollgate_domain::country::Country;
use tollgate_domain::id::{LineLabel, ProviderId, ProxyId};
use tollgate_domain::line::Hold;
use tollgate_domain::proxy::ProxyClass;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::username::{LIFE_DEFAULT_MIN, UserSpec};

use crate::account::Account;
use crate::core::{Core, store_refusal};
use crate::directory;
use crate::line::LineUse;

/// How a line reaches its exit.
pub(crate) struct Route {
    pub proxy: ProxyId,
    /// The line whose assignment this is: another one for sessions.
    pub line: LineLabel,
    pub country: Option<Country>,
    pub host: String,
    pub port: u16,
    /// Value of `Proxy-Authorization` towards the gateway.
    pub authorization: SecretString,
    requested: Country,
    class: ProxyClass,
}

impl Route {
    pub fn provider(&self) -> &ProviderId {
        &self.proxy.provider
    }

    /// Refuses a user name that asks for something else than the line does.
    fn check(&self, spec: &UserSpec) -> Result<(), Refusal> {
        let mismatch = |what: &str, asked: &str, is: &str| {
            let detail = format!("the line was made for {what} {is}, the user name asks for {asked}");
            Err(Refusal::new(Code::LineMismatch, detail))
        };
        if let Some(c) = spec.country.filter(|c| *c != self.requested) {
            return mismatch("country", c.as_str(), self.requested.as_str());
        }
        if let Some(c) = spec.class.filter(|c| *c != self.class) {
            return mismatch("type", c.as_str(), self.class.as_str());
        }
        Ok(())
    }
}

/// The route of a line, found or asked for.
pub(crate) async fn find(
    core: &Arc<Core>,
    account: &Arc<Account>,
    line: &Arc<LineUse>,
    spec: &UserSpec,
    correlation_id: &str,
) -> Result<Arc<Route>, Refusal> {
    let route = match line.route() {
        Some(route) => route,
        None => {
            let ask = AssignRequest {
                customer: account.id.clone(),
                line: line.key.clone(),
                country: spec.country,
                class: spec.class,
                hold: match spec.session {
                    Some(_) => Hold::Minutes(spec.life_min.unwrap_or(LIFE_DEFAULT_MIN)),
                    None => Hold::Tunnels,
                },
                correlation_id: correlation_id.to_owned(),
            };
            core.on_control(fetch(Arc::clone(core), Arc::clone(line), ask)).await?
        }
    };
    route.check(spec)?;
    Ok(route)
}

async fn fetch(core: Arc<Core>, line: Arc<LineUse>, ask: AssignRequest) -> Result<Arc<Route>, Refusal> {
    let _one = line.flight.lock().await;
    if let Some(route) = line.route() {
        return Ok(route);
    }
    let found = core.store.assignment(&line.key).await.map_err(|e| store_refusal(&e))?;
    let assignment = match found.filter(|a| a.state == AssignmentState::Bound && a.proxy.is_some()) {
        Some(assignment) => assignment,
        None => assign(&core, ask).await?,
    };
    let route = Arc::new(make(&core, &assignment).await?);
    line.set_route(Some(Arc::clone(&route)));
    Ok(route)
}

async fn assign(core: &Core, ask: AssignRequest) -> Result<Assignment, Refusal> {
    let line = ask.line.clone();
    match tokio::time::timeout(core.config.assign_timeout, core.assigner.assign(ask)).await {
        Ok(Ok(AssignReply::Bound { assignment })) => Ok(*assignment),
        Ok(Ok(AssignReply::Refused { refusal })) => Err(refusal.into_refusal()),
        Ok(Err(e)) => {
            tracing::warn!(%line, error = %e, "assigner failed");
            Err(Refusal::new(Code::StoreUnavailable, "the assigner did not answer"))
        }
        Err(_) => {
            tracing::warn!(%line, "assigner timed out");
            Err(Refusal::new(Code::AssignInProgress, "the assignment is still under way"))
        }
    }
}

async fn make(core: &Core, a: &Assignment) -> Result<Route, Refusal> {
    let none = || Refusal::new(Code::AssignInProgress, "the line has no proxy yet");
    let proxy = a.proxy.clone().ok_or_else(none)?;
    let gateway = directory::gateway(core, &proxy.provider).await?;
    Ok(Route {
        authorization: gateway.authorization(&proxy.ip),
        line: a.line.label.clone(),
        country: a.country,
        host: gateway.provider.gateway_host.clone(),
        port: gateway.provider.gateway_port,
        requested: a.requested,
        class: a.class,
        proxy,
    })
}
