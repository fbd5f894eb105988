//! Who may pass: credentials, standing, threads, bytes, and the way to an upstream.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::username::{self, UserSpec};

use super::Front;
use crate::account::{Entered, Login};
use crate::auth;
use crate::core::Core;
use crate::directory;
use crate::exchange::stop_refusal;
use crate::http::RequestHead;
use crate::http::refusal::Answering;
use crate::line::{LineUse, Using};
use crate::meter::{Meter, Stop};
use crate::route::{self, Route};
use crate::tunnel::Tunnel;

/// Logins reloaded because their account was just given up.
const RELOADS: u32 = 50;

/// Who may pass, and what is counted while they do.
pub(super) struct Admitted {
    pub(super) login: Arc<Login>,
    pub(super) verifier: String,
    pub(super) spec: UserSpec,
    pub(super) _entered: Entered,
}

/// A way through, in use.
pub(super) struct Way {
    pub(super) line: Arc<LineUse>,
    pub(super) route: Arc<Route>,
    pub(super) _using: Using,
}

/// A tunnel that others can see, while this lives.
pub(super) struct Registered {
    pub(super) core: Arc<Core>,
    pub(super) tunnel: Arc<Tunnel>,
}

impl Registered {
    fn new(core: &Arc<Core>, tunnel: Arc<Tunnel>) -> Self {
        core.metrics.tunnels.fetch_add(1, Ordering::Relaxed);
        core.metrics.open_tunnels.fetch_add(1, Ordering::Relaxed);
        tunnel.login.account.register(&tunnel);
        Self { core: Arc::clone(core), tunnel }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.core.metrics.open_tunnels.fetch_sub(1, Ordering::Relaxed);
        self.tunnel.login.account.unregister(self.tunnel.id);
    }
}

impl Front {
    pub(super) async fn admit(&self, head: &RequestHead) -> Result<Admitted, Refusal> {
        if self.core.draining() {
            return Err(Refusal::new(Code::EdgeDraining, "this edge is shutting down"));
        }
        if let Some(left) = self.core.throttle.blocked(self.peer, Instant::now()) {
            let seconds = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
            let detail = "too many failed logins from this address";
            return Err(Refusal::new(Code::AuthFailed, detail).retry_after(seconds));
        }
        let credentials = auth::basic(head.only("proxy-authorization")?)?;
        let spec = username::parse(&credentials.user)?;
        let offered = auth::verifier(&self.core.pepper, &credentials.password);
        let now = self.core.clock.now();
        for _ in 0..RELOADS {
            let login = self.login(&spec, &offered).await?;
            login.account.check_standing(now)?;
            if let Some(entered) = login.account.enter()? {
                let dry = login.account.ledger.ready(self.core.config.lease_timeout).await;
                dry.map_err(|d| stop_refusal(Stop::Dry(d)))?;
                return Ok(Admitted { login, verifier: offered, spec, _entered: entered });
            }
            // The account was given up a moment ago: it is loaded anew.
            self.worker.forget(&spec.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Refusal::new(Code::StoreUnavailable, "the account could not be loaded"))
    }

    pub(super) async fn login(&self, spec: &UserSpec, offered: &str) -> Result<Arc<Login>, Refusal> {
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

    pub(super) fn count_failure(&self, refusal: &Refusal) {
        if refusal.code == Code::AuthFailed {
            self.core.throttle.failed(self.peer, Instant::now());
        }
    }

    pub(super) async fn way(&self, admitted: &Admitted, to: &Answering) -> Result<Way, Refusal> {
        let account = &admitted.login.account;
        let line = account.line(&admitted.spec.line_label());
        let route = route::find(&self.core, account, &line, &admitted.spec, &to.correlation_id).await?;
        // A session uses another line's proxy: it is that line that must not close meanwhile.
        let used = if route.line == line.key.label { Arc::clone(&line) } else { account.line(&route.line) };
        let using = Using::new(&self.core, &used);
        Ok(Way { line, route, _using: using })
    }

    pub(super) fn meter(&self, admitted: &Admitted, way: &Way) -> Meter {
        let label = way.line.key.label.clone();
        let account = Arc::clone(&admitted.login.account);
        Meter::new(Arc::clone(&self.core), account, label, way.route.proxy.clone(), self.worker.index)
    }

    /// Makes the tunnel visible to bans and kicks; then looks again whether it may pass, for a
    /// change may have come while nobody could see it.
    pub(super) fn register(&self, admitted: &Admitted, way: &Way) -> Result<Registered, Refusal> {
        let now = self.core.clock.now();
        let login = Arc::clone(&admitted.login);
        let label = way.line.key.label.clone();
        let tunnel = Tunnel::new(label, way.route.proxy.clone(), login, admitted.verifier.clone(), now);
        let registered = Registered::new(&self.core, Arc::new(tunnel));
        admitted.login.account.check_standing(now)?;
        if !admitted.login.passes(&admitted.verifier, now) {
            return Err(Refusal::new(Code::AuthFailed, "the credential was changed"));
        }
        Ok(registered)
    }
}
