//! The start of a life.

use std::sync::Arc;
use std::time::Instant;

use super::{StartError, refused};
use crate::access_log::AccessLog;
use crate::config::EdgeConfig;
use crate::core::{Core, Parts, Tls};
use crate::deps::EdgeDeps;
use crate::ingress::listeners::Listeners;
use crate::journal::{self, Journal};
use crate::recovery;
use crate::takeover::NamedListener;
use crate::upstreams::Upstreams;

/// From settings to a session: earlier lives settled, a new journal made.
pub(super) async fn begin(
    config: EdgeConfig,
    deps: EdgeDeps,
    control: tokio::runtime::Handle,
    ports: Vec<NamedListener>,
) -> Result<Arc<Core>, StartError> {
    let listeners = Arc::new(Listeners::new(config.workers).map_err(refused("a descriptor"))?);
    let kept = Upstreams::new(config.ports.as_ref(), &config.data_dir, &listeners);
    let upstreams = kept.map_err(refused("the kept port map"))?;
    upstreams.inherit(ports.into_iter().map(|l| (l.name.address.port(), l.listener)));
    upstreams.reload(Instant::now())?;
    let tls = Tls::load(&config)?;
    // Looked at before the epoch is taken: a foreign journal must change nothing.
    let earlier = journal::earlier(&config.data_dir, &config.edge)?;
    let mut elders = journal::living(&config.data_dir, &config.edge)?;
    // The journals of the dead are locked too, by us.
    elders.retain(|e| earlier.iter().all(|r| r.session != *e));
    let session = deps.store.start_epoch_beside(&config.edge, &elders, deps.clock.now()).await?;
    recovery::settle_these(earlier, &deps.store, deps.clock.now()).await?;
    let slots = (config.workers, config.lease_slots, config.usage_slots);
    let journal = Journal::create(&config.data_dir, &session, slots, deps.clock.now())?;
    let access_log = AccessLog::start(config.access_log.clone(), Arc::clone(&deps.clock));
    let access_log = access_log.map_err(refused("a thread"))?;
    let parts = Parts { journal, listeners, upstreams, tls, access_log };
    let core = Core::new(config, session, deps, parts, control);
    core.set_elders(elders);
    Ok(Arc::new(core))
}
