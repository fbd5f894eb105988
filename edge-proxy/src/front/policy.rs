//! Which targets may be asked for: the edge's rules and the plan's, the same over every way in.

use std::net::SocketAddr;

use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::target::Target;
use tollgate_domain::upstream::Scheme;

use crate::account::Account;
use crate::upstream::dial::{self, Whose};
use crate::worker::Worker;

/// Whether the edge, and the customer's plan, allow `target` over an upstream of this `scheme`; none
/// = any that is a proxy.
///
/// # Errors
/// `DEST_BLOCKED`, `LOOP`.
pub(super) fn check(
    worker: &Worker,
    account: &Account,
    target: &Target,
    scheme: Option<Scheme>,
) -> Result<(), Refusal> {
    worker.core.check_own(target)?;
    account.profile().limits.targets.check(target)?;
    check_way(worker, target, scheme)
}

/// What of [`check`] depends on the way. Through a proxy, address literals in special ranges are
/// refused; where the edge dials itself they are judged as a name's addresses are.
///
/// # Errors
/// `DEST_BLOCKED`, `LOOP`.
pub(super) fn check_way(worker: &Worker, target: &Target, scheme: Option<Scheme>) -> Result<(), Refusal> {
    let policy = &worker.core.config.policy;
    let Some(ip) = dial::literal(&target.host).filter(|_| scheme == Some(Scheme::Direct)) else {
        return policy.check_through_upstream(target);
    };
    if policy.denied_ports.contains(&target.port) {
        return Err(Refusal::new(Code::DestBlocked, format!("port {} is not allowed", target.port)));
    }
    dial::judge(worker, SocketAddr::new(ip, target.port), Whose::Target)
}
