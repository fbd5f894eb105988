//! What the feed tells edges to do: close some tunnels, begin new logs, say what is live, drain.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::feed::{Command, Selector};
use tollgate_domain::id::{CustomerId, EdgeSession, RequestId};
use tollgate_domain::live::{LiveReport, LiveTunnel};
use tollgate_store::StoreError;

use crate::account::Account;
use crate::core::Core;
use crate::edge::drain;
use crate::tunnel::{CloseReason, Tunnel};

/// After this time nobody waits for an answer any more.
const WAITED_FOR: Duration = Duration::from_secs(30);

/// Does what it is told. Doing it twice does it once, or harms nothing.
///
/// # Errors
/// [`StoreError`]: the command is tried again with the next look at the feed.
pub(crate) async fn command(core: &Arc<Core>, told: &Command) -> Result<(), StoreError> {
    match told {
        Command::Kick { customer, selector, at } => {
            if let Some(account) = core.directory.account(customer) {
                let named = |t: &Tunnel| t.opened_at < *at && selects(selector, &core.session, t);
                account.kill(|t| named(t).then_some(CloseReason::Kicked));
            }
            Ok(())
        }
        Command::RotateLogs { .. } => {
            core.access_log.rotate_now();
            tracing::info!("new logs were asked for");
            Ok(())
        }
        // A restarted edge finds old questions in its first window.
        Command::ReportLive { at, .. } if core.clock.now().since(*at) > WAITED_FOR => Ok(()),
        Command::ReportLive { request, customer, limit, .. } => {
            report_live(core, request, customer.as_ref(), *limit).await
        }
        Command::Drain { session, within_s, .. } => {
            if *session == core.session {
                // It takes its time: the feed is read on meanwhile.
                tokio::spawn(drain::in_place(Arc::clone(core), Duration::from_secs(u64::from(*within_s))));
            }
            Ok(())
        }
    }
}

fn selects(selector: &Selector, session: &EdgeSession, tunnel: &Tunnel) -> bool {
    match selector {
        Selector::Line(line) => tunnel.line == *line,
        Selector::Source(net) => net.contains(&tunnel.source),
        Selector::Connection(id) => id.session == *session && id.number == tunnel.id,
    }
}

async fn report_live(
    core: &Core,
    request: &RequestId,
    customer: Option<&CustomerId>,
    limit: u16,
) -> Result<(), StoreError> {
    let accounts: Vec<Arc<Account>> = match customer {
        Some(id) => core.directory.account(id).into_iter().collect(),
        None => core.directory.accounts(),
    };
    let tunnels: Vec<LiveTunnel> = accounts.iter().flat_map(live).collect();
    let now = core.clock.now();
    core.store.put_live(request, &LiveReport::new(core.session.clone(), now, tunnels, limit), now).await
}

fn live(account: &Arc<Account>) -> Vec<LiveTunnel> {
    let tunnels = account.tunnels();
    let of = |t: &Arc<Tunnel>| {
        let (ingress, egress) = t.moved();
        LiveTunnel {
            number: t.id,
            customer: account.id.clone(),
            line: t.line.clone(),
            source: Some(t.source),
            listener_port: Some(t.listener_port),
            upstream: t.route.proxy.to_string(),
            country: t.route.country,
            ingress: Some(ingress),
            egress: Some(egress),
            opened_at: t.opened_at,
        }
    };
    tunnels.iter().map(of).collect()
}
