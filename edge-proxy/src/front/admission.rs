//! Who may pass: credentials or a listed source, standing, threads, requests, bytes; and the way
//! to an upstream.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::allow::AllowEntry;
use tollgate_domain::id::{LineLabel, ProxyId, UserName};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;
use tollgate_domain::upstream::Scheme;
use tollgate_domain::username::{self, UserSpec};

use super::{Front, policy};
use crate::account::{Account, Entered, Login};
use crate::auth::{self, Basic};
use crate::core::Core;
use crate::directory;
use crate::exchange::stop_refusal;
use crate::ingress::entrance::Kind;
use crate::limits::rate;
use crate::limits::shape::Shape;
use crate::limits::source::Present;
use crate::line::{LineUse, Using};
use crate::meter::{Meter, Stop};
use crate::route::{self, Route};
use crate::sources;
use crate::tunnel::{Pass, Tunnel};
use crate::upstream::Failed;
use crate::upstream::spec::Upstream;

/// Logins reloaded because their account was just given up.
const RELOADS: u32 = 50;

/// Who a client says it is.
pub(super) enum Asking {
    /// `Proxy-Authorization`, as sent.
    Header(String),
    /// The same as before on this connection.
    Known(Arc<Known>),
    /// User name and password.
    Password(Basic),
    /// Nothing but its address.
    Source,
}

/// Credentials that passed on this connection. They are compared with what the same client sent
/// before, so nothing is learnt from how long that takes.
pub(super) struct Known {
    pub header: String,
    login: Arc<Login>,
    verifier: Arc<str>,
    spec: Arc<UserSpec>,
}

/// Whose client may pass, why, and what its user name asks for.
type Passed = (Arc<Account>, Pass, Arc<UserSpec>);

/// Who may pass, and what is counted while they do.
pub(super) struct Admitted {
    pub account: Arc<Account>,
    pub pass: Pass,
    pub spec: Arc<UserSpec>,
    present: Option<Present>,
    _entered: Entered,
}

/// A way through, in use.
pub(super) struct Way {
    pub line: Arc<LineUse>,
    pub route: Arc<Route>,
    /// The row of the file that it leads over, where a port or its pool chose it.
    pub row: Option<Arc<Upstream>>,
    _using: Option<Using>,
}

impl Way {
    /// The way over a row of the file.
    pub fn over(row: Arc<Upstream>, line: Arc<LineUse>, spec: &UserSpec) -> Self {
        let route = Route::of_port(&row, &spec.line_label(), spec.life_min);
        Self { line, route: Arc::new(route), row: Some(row), _using: None }
    }

    /// What a failure says of the route: one that is lost is not used again.
    pub fn give_up(&self, failed: &Failed) {
        if failed.lost() {
            self.line.drop_route(&self.route);
        }
    }
}

/// A tunnel that others can see, while this lives.
pub(super) struct Registered {
    pub core: Arc<Core>,
    pub account: Arc<Account>,
    pub tunnel: Arc<Tunnel>,
}

impl Registered {
    fn new(core: &Arc<Core>, account: &Arc<Account>, tunnel: Arc<Tunnel>) -> Self {
        core.metrics.tunnels.fetch_add(1, Ordering::Relaxed);
        core.metrics.open_tunnels.fetch_add(1, Ordering::Relaxed);
        account.register(&tunnel);
        Self { core: Arc::clone(core), account: Arc::clone(account), tunnel }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.core.metrics.open_tunnels.fetch_sub(1, Ordering::Relaxed);
        self.account.unregister(self.tunnel.id);
    }
}

impl Front {
    /// Admits a client to one tunnel, exchange or association.
    pub(super) async fn admit(&mut self, asking: Asking) -> Result<Admitted, Refusal> {
        let who = self.identify(asking)?;
        for _ in 0..RELOADS {
            let (account, pass, spec) = self.authenticate(&who).await?;
            account.check_standing(self.core.clock.now())?;
            if let Some(entered) = account.enter()? {
                let present = account.rates.enter(self.peer.ip())?;
                account.rates.ask(present.as_ref().map(Present::source), rate::now_ns())?;
                let dry = account.ledger.ready(self.core.config.lease_timeout).await;
                dry.map_err(|d| stop_refusal(Stop::Dry(d)))?;
                return Ok(Admitted { account, pass, spec, present, _entered: entered });
            }
            // The account was given up a moment ago: it is loaded anew.
            self.worker.forget(&spec.name);
            self.known = None;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Refusal::new(Code::StoreUnavailable, "the account could not be loaded"))
    }

    /// Who a client is, before it says what it wants: for protocols that answer credentials apart.
    pub(super) async fn vouch(&mut self, asking: Asking) -> Result<Asking, Refusal> {
        let who = self.identify(asking)?;
        let (_, pass, _) = self.authenticate(&who).await?;
        Ok(match (pass, self.known.clone()) {
            (Pass::Password { .. }, Some(known)) => Asking::Known(known),
            _ => Asking::Source,
        })
    }

    /// Reads what was sent: nothing is looked up yet.
    fn identify(&self, asking: Asking) -> Result<Who, Refusal> {
        if self.core.draining() {
            return Err(Refusal::new(Code::EdgeDraining, "this edge is shutting down"));
        }
        self.core.reach.check()?;
        if let Some(left) = self.core.throttle.blocked(self.peer.ip(), Instant::now()) {
            let seconds = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
            let detail = "too many failed logins from this address";
            return Err(Refusal::new(Code::AuthFailed, detail).retry_after(seconds));
        }
        let (basic, header) = match asking {
            Asking::Known(known) => return Ok(Who::Known(known)),
            Asking::Source => return Ok(Who::Source),
            Asking::Header(header) => (auth::basic(&header)?, header),
            // No header is empty.
            Asking::Password(basic) => (basic, String::new()),
        };
        let spec = Arc::new(username::parse(&basic.user)?);
        let verifier = auth::verifier(&self.core.pepper, &basic.password).into();
        Ok(Who::Password { spec, verifier, header })
    }

    /// The account of a client that may pass as far as its credentials or its address say; from
    /// then on it is no stranger.
    async fn authenticate(&mut self, who: &Who) -> Result<Passed, Refusal> {
        let found = self.find(who).await?;
        self.stranger = None;
        Ok(found)
    }

    async fn find(&mut self, who: &Who) -> Result<Passed, Refusal> {
        let (login, verifier, spec) = match who {
            Who::Source => return self.by_source().await,
            Who::Known(known) if known.login.passes(&known.verifier, self.core.clock.now()) => {
                (Arc::clone(&known.login), &known.verifier, &known.spec)
            }
            // Its password was changed: it is looked at like a new one.
            Who::Known(known) => (self.login(&known.spec, &known.verifier).await?, &known.verifier, &known.spec),
            Who::Password { spec, verifier, header } => {
                let login = self.login(spec, verifier).await?;
                self.known = Some(Arc::new(Known {
                    header: header.clone(),
                    login: Arc::clone(&login),
                    verifier: Arc::clone(verifier),
                    spec: Arc::clone(spec),
                }));
                (login, verifier, spec)
            }
        };
        let account = Arc::clone(&login.account);
        self.check_source(&account, true).await?;
        Ok((account, Pass::Password { login, verifier: Arc::clone(verifier) }, Arc::clone(spec)))
    }

    async fn login(&self, spec: &UserSpec, offered: &str) -> Result<Arc<Login>, Refusal> {
        let found = match self.worker.login(&spec.name) {
            Some(login) => Ok(login),
            None => {
                let load = directory::login(Arc::clone(&self.core), spec.name.clone());
                self.core.on_control(load).await.inspect(|l| self.worker.remember(l))
            }
        };
        let login = found.inspect_err(|r| self.count_failure(r))?;
        let matches = {
            let credential = login.credential.read().unwrap_or_else(PoisonError::into_inner);
            credential.as_ref().is_some_and(|c| auth::matching(c, offered, self.core.clock.now()))
        };
        if !matches {
            let refusal = Refusal::new(Code::AuthFailed, "user name or password is wrong");
            self.count_failure(&refusal);
            return Err(refusal);
        }
        Ok(login)
    }

    /// The account that lists the client's address.
    async fn by_source(&self) -> Result<Passed, Refusal> {
        let required = || Refusal::new(Code::AuthRequired, "send Proxy-Authorization: Basic");
        let Some(listed) = self.listed().await? else { return Err(required()) };
        let load = directory::account(Arc::clone(&self.core), listed.customer.clone());
        let account = self.core.on_control(load).await?;
        account.profile().auth.judge(false, true).map_err(|_| required())?;
        // Nobody named a line: the default one is meant.
        let name = UserName::new(account.id.as_str()).map_err(|_| required())?;
        Ok((account, Pass::Source, Arc::new(UserSpec::of(name))))
    }

    /// Whether the account takes clients from this address, with a `password` or without.
    async fn check_source(&self, account: &Account, password: bool) -> Result<(), Refusal> {
        let mode = account.profile().auth;
        if mode.judge(password, false).is_ok() {
            return Ok(());
        }
        let listed = self.listed().await?.is_some_and(|listed| listed.customer == account.id);
        mode.judge(password, listed)
            .map_err(|code| Refusal::new(code, "this source address is not listed for the account"))
    }

    /// The entry of an allow-list that the client's address is in.
    async fn listed(&self) -> Result<Option<AllowEntry>, Refusal> {
        let ip = self.peer.ip().to_canonical();
        let sources = &self.core.directory.sources;
        if let Some(known) = sources.known(ip) {
            return Ok(known);
        }
        let loaded = self.core.on_control(sources::load(Arc::clone(&self.core), ip)).await;
        loaded.or_else(|refusal| sources.extend(ip).map(Some).ok_or(refusal))
    }

    fn count_failure(&self, refusal: &Refusal) {
        if refusal.code == Code::AuthFailed {
            self.core.throttle.failed(self.peer.ip(), Instant::now());
        }
    }

    /// Whether the customer's target rules, and the edge's own, allow `target`, as far as the door tells.
    pub(super) fn check_target(&self, admitted: &Admitted, target: &Target) -> Result<(), Refusal> {
        policy::check(&self.worker, &admitted.account, target, self.scheme())
    }

    /// The same for the way that was found: a reload may have changed where a port leads.
    pub(super) fn check_way(&self, way: &Way, target: &Target) -> Result<(), Refusal> {
        match self.entrance.kind {
            Kind::Port(_) => policy::check_way(&self.worker, target, Some(way.route.scheme)),
            Kind::Gateway | Kind::Tls => Ok(()),
        }
    }

    /// What the upstream behind the door speaks. The upstreams of lines are proxies all.
    fn scheme(&self) -> Option<Scheme> {
        self.entrance.upstream().map(|behind| behind.scheme)
    }

    /// The way of a line, or of the port that the client came through. `lost` is the proxy that was
    /// tried and is gone.
    pub(super) async fn way(
        &self,
        admitted: &Admitted,
        correlation_id: &str,
        lost: Option<ProxyId>,
    ) -> Result<Way, Refusal> {
        let account = &admitted.account;
        if let Some(behind) = self.entrance.upstream() {
            if behind.owner.as_ref().is_some_and(|owner| *owner != account.id) {
                return Err(Refusal::new(Code::Forbidden, "this port belongs to another account"));
            }
            let label = match self.entrance.kind {
                Kind::Port(port) => LineLabel::new(format!("port.{port}")).ok(),
                Kind::Gateway | Kind::Tls => None,
            };
            let line = account.line(&label.unwrap_or_else(|| admitted.spec.line_label()));
            return Ok(Way::over(behind, line, &admitted.spec));
        }
        let line = account.line(&admitted.spec.line_label());
        let route = route::find(&self.core, account, &line, &admitted.spec, correlation_id, lost).await?;
        // A session uses another line's proxy: it is that line that must not close meanwhile.
        let used = if route.line == line.key.label { Arc::clone(&line) } else { account.line(&route.line) };
        let using = Using::new(&self.core, &used);
        Ok(Way { line, route, row: None, _using: Some(using) })
    }

    pub(super) fn meter(&self, admitted: &Admitted, way: &Way) -> Meter {
        let label = way.line.key.label.clone();
        let account = Arc::clone(&admitted.account);
        let source = admitted.present.as_ref().map(|p| Arc::clone(p.source()));
        let port = Some(Arc::clone(&self.entrance.bytes));
        let first_wins = self.worker.live.get().goproxy_first_wins;
        let shape = Shape::new(Arc::clone(&account.rates), source, port, first_wins);
        Meter::new(Arc::clone(&self.core), account, label, way.route.proxy.clone(), self.worker.index, shape)
    }

    /// Makes the tunnel, and what `meter` counts of it, visible to bans, kicks and whoever looks; then looks again whether it may pass, for a
    /// change may have come while nobody could see it.
    pub(super) async fn register(
        &self,
        admitted: &Admitted,
        way: &Way,
        correlation_id: &str,
        meter: &Meter,
    ) -> Result<Registered, Refusal> {
        let now = self.core.clock.now();
        let tunnel = Tunnel::new(
            way.line.key.label.clone(),
            Arc::clone(&way.route),
            admitted.pass.clone(),
            self.peer.ip().to_canonical(),
            self.entrance.local.port(),
            correlation_id.to_owned(),
            now,
        );
        let tunnel = Arc::new(tunnel);
        meter.attach(&tunnel);
        let registered = Registered::new(&self.core, &admitted.account, tunnel);
        self.core.reach.check()?;
        admitted.account.check_standing(now)?;
        if !admitted.pass.holds(now) {
            return Err(Refusal::new(Code::AuthFailed, "the credential was changed"));
        }
        self.check_source(&admitted.account, matches!(admitted.pass, Pass::Password { .. })).await?;
        Ok(registered)
    }
}

/// Who a client is, as far as what it sent tells.
enum Who {
    Password { spec: Arc<UserSpec>, verifier: Arc<str>, header: String },
    Known(Arc<Known>),
    Source,
}
