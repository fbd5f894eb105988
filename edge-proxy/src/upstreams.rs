//! Upstreams of an edge that come from a file: the table of them, and the ports that lead to them.
//!
//! A reload costs work only for lines that changed, and no tunnel notices: rows in use stay until
//! the last connection that uses them ends. What connections read meanwhile (the row behind a
//! door, a row by its id) is locked for the swap of a pointer.

mod doors;
pub(crate) mod file;
mod kept;
mod ports;
mod reload;
mod row;
mod status;
pub(crate) mod table;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tollgate_domain::id::ProviderId;

use crate::ingress::listeners::Listeners;
use crate::upstream::spec::Upstream;
use doors::Doors;
use file::Known;
pub use file::LineProblem;
use ports::PortMap;
use reload::Stamp;
pub(crate) use reload::follow;
pub use reload::{ReloadError, ReloadReport};
use row::Identity;
pub use status::{PortState, PortStatus};
use table::Table;

/// Settings of the upstream file and its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortsConfig {
    /// One upstream a line.
    pub file: PathBuf,
    /// Provider under whose name their bytes are counted.
    pub provider: ProviderId,
    /// Address that the ports listen on.
    pub bind: IpAddr,
    /// First port.
    pub first: u16,
    /// Ports; 0 = the upstreams have none.
    pub count: u16,
    /// How often the file is looked at for a change; none = only when told.
    pub poll: Option<Duration>,
}

impl PortsConfig {
    /// The ports 4000 to 4999 on all IPv4 addresses, for the upstreams in `file`, reloaded when told.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, provider: ProviderId) -> Self {
        let bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { file: file.into(), provider, bind, first: 4000, count: 1000, poll: None }
    }
}

/// See the module.
pub(crate) struct Upstreams {
    table: Table,
    from_file: Option<FromFile>,
}

struct FromFile {
    config: PortsConfig,
    /// Where the port map is kept.
    dir: PathBuf,
    /// Held by a reload from reading the file to keeping the port map: one at a time. What the
    /// last one read.
    turn: Mutex<Known>,
    /// Held for memory and sockets alone, never for the disk.
    state: Mutex<State>,
}

/// What reloads change.
struct State {
    rows: HashMap<Identity, Arc<Upstream>>,
    /// The same rows in the file's order; none = it was not read yet.
    order: Option<Vec<Identity>>,
    map: PortMap,
    doors: Doors,
    /// Rows without a port, in the file's order.
    unbound: Vec<Identity>,
    /// Of the file that was read last.
    stamp: Option<Stamp>,
}

impl Upstreams {
    /// Without rows; they come with the first reload.
    ///
    /// # Errors
    /// If the port map kept in `dir` cannot be read.
    pub fn new(config: Option<&PortsConfig>, dir: &Path, listeners: &Arc<Listeners>) -> std::io::Result<Self> {
        let from_file = config.map(|config| {
            let mut map = PortMap::new(config.first, config.count);
            map.restore(kept::load(dir)?);
            let doors = Doors::new(Arc::clone(listeners), config.bind);
            let (rows, unbound) = (HashMap::new(), Vec::new());
            let state = State { rows, order: None, map, doors, unbound, stamp: None };
            Ok::<_, std::io::Error>(FromFile {
                config: config.clone(),
                dir: dir.to_owned(),
                turn: Mutex::default(),
                state: Mutex::new(state),
            })
        });
        Ok(Self { table: Table::default(), from_file: from_file.transpose()? })
    }

    /// Every row, by id.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Sockets of ports that an earlier process listened on, used by the next reload.
    pub fn inherit(&self, sockets: impl IntoIterator<Item = (u16, TcpListener)>) {
        if let Some(from_file) = &self.from_file {
            from_file.state().doors.inherit(sockets);
        }
    }

    /// Tries again the ports that could not be bound and whose time has come.
    pub fn retry(&self, now: Instant) {
        // While a reload changes the doors, the next look will do.
        if let Some(from_file) = &self.from_file
            && let Ok(mut state) = from_file.state.try_lock()
        {
            state.doors.retry(now);
        }
    }
}

impl FromFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
