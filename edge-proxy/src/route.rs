//! From a line to the upstream that serves it: cached, else the open assignment, else a question
//! to the assigner. All but the cache runs on the control thread.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tollgate_domain::assignment::{AssignReply, AssignRequest, Assignment, AssignmentState};
use tollgate_domain::country::Country;
use tollgate_domain::id::{LineLabel, ProviderId, ProxyId};
use tollgate_domain::line::Hold;
use tollgate_domain::proxy::ProxyClass;
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::upstream::{self, Facts, Scheme};
use tollgate_domain::username::{LIFE_DEFAULT_MIN, UserSpec};

use crate::account::Account;
use crate::core::{Core, store_refusal};
use crate::directory;
use crate::line::LineUse;
use crate::upstream::spec::Upstream;

/// How a line reaches its exit.
pub(crate) struct Route {
    pub proxy: ProxyId,
    /// The same as text.
    pub name: String,
    /// The line whose assignment this is: another one for sessions.
    pub line: LineLabel,
    pub country: Option<Country>,
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
    /// User name and password towards the gateway.
    pub credentials: Option<(String, SecretString)>,
    /// The same as the value of `Proxy-Authorization`.
    pub authorization: Option<SecretString>,
    asked: Option<(Country, ProxyClass)>,
}

/// The value of `Proxy-Authorization`.
fn authorization((user, password): &(String, SecretString)) -> SecretString {
    format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret()))).into()
}

impl Route {
    pub fn provider(&self) -> &ProviderId {
        &self.proxy.provider
    }

    /// Whether it is what a bound assignment says.
    pub fn serves(&self, a: &Assignment) -> bool {
        a.proxy.as_ref() == Some(&self.proxy) && a.country == self.country && self.asked == Some((a.requested, a.class))
    }

    /// Whether both lead the same way, as the same user.
    pub fn same(&self, other: &Self) -> bool {
        let user = |r: &Self| r.credentials.as_ref().map(|(user, _)| user.clone());
        std::ptr::eq(self, other)
            || ((&self.proxy, self.scheme, &self.host, self.port)
                == (&other.proxy, other.scheme, &other.host, other.port)
                && user(self) == user(other))
    }

    /// Refuses a user name that asks for something else than the line does.
    fn check(&self, spec: &UserSpec) -> Result<(), Refusal> {
        let mismatch = |what: &str, asked: &str, is: &str| {
            let detail = format!("the line was made for {what} {is}, the user name asks for {asked}");
            Err(Refusal::new(Code::LineMismatch, detail))
        };
        let Some((country, class)) = self.asked else { return Ok(()) };
        if let Some(c) = spec.country.filter(|c| *c != country) {
            return mismatch("country", c.as_str(), country.as_str());
        }
        if let Some(c) = spec.class.filter(|c| *c != class) {
            return mismatch("type", c.as_str(), class.as_str());
        }
        Ok(())
    }
}

impl Route {
    /// The route behind a listening port, for any line.
    pub fn of_port(upstream: &Upstream, line: &LineLabel, life_min: Option<u32>) -> Self {
        let credentials = upstream.credentials.as_ref().map(|(template, password)| {
            let facts =
                Facts { user: "", session: line.as_str(), country: upstream.country, life_min, ip: &upstream.host };
            (upstream::fill(template, &facts), password.clone())
        });
        Self {
            authorization: credentials.as_ref().map(authorization),
            credentials,
            line: line.clone(),
            country: upstream.country,
            scheme: upstream.scheme,
            host: upstream.host.clone(),
            port: upstream.port,
            asked: None,
            name: upstream.id.to_string(),
            proxy: upstream.id.clone(),
        }
    }
}

/// The route of a line, found or asked for.
pub(crate) async fn find(
    core: &Arc<Core>,
    account: &Arc<Account>,
    line: &Arc<LineUse>,
    spec: &UserSpec,
    correlation_id: &str,
    lost: Option<ProxyId>,
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
                lost,
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
    let life_min = match ask.hold {
        Hold::Minutes(minutes) => Some(minutes),
        Hold::Tunnels | Hold::Closed => None,
    };
    // A proxy that its provider says is gone serves nobody: the assigner is told.
    let bound = |a: &Assignment| a.state == AssignmentState::Bound && a.proxy.is_some() && a.proxy != ask.lost;
    let assignment = match found.filter(bound) {
        Some(assignment) => assignment,
        None => assign(&core, ask).await?,
    };
    let route = Arc::new(make(&core, &assignment, life_min).await?);
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

async fn make(core: &Core, a: &Assignment, life_min: Option<u32>) -> Result<Route, Refusal> {
    let none = || Refusal::new(Code::AssignInProgress, "the line has no proxy yet");
    let proxy = a.proxy.clone().ok_or_else(none)?;
    let gateway = directory::gateway(core, &proxy.provider).await?;
    let credentials = gateway.credentials(&proxy.ip, &a.line.label, a.country, life_min);
    Ok(Route {
        authorization: Some(authorization(&credentials)),
        credentials: Some(credentials),
        line: a.line.label.clone(),
        country: a.country,
        scheme: gateway.provider.protocol,
        host: gateway.provider.gateway_host.clone(),
        port: gateway.provider.gateway_port,
        asked: Some((a.requested, a.class)),
        name: proxy.to_string(),
        proxy,
    })
}
