//! `run.json` in the data directory: where everything listens, for programs. No secret.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tollgate_domain::id::EdgeId;

use crate::data_dir::{DataDir, replace};
use crate::edge_process::Place;
use crate::failure::Failure;
use crate::simulator::CA;
use crate::system::Addresses;

const NAME: &str = "run.json";

/// The file, kept up to date while edges come and go.
pub struct RunFile {
    path: PathBuf,
    at: Addresses,
    origin_ca: PathBuf,
    state: Mutex<State>,
}

struct State {
    edges: Vec<EdgeShown>,
    /// Nobody reads it before everything answers.
    published: bool,
}

/// An edge of the run.
#[derive(Clone, Debug, Serialize)]
struct EdgeShown {
    id: EdgeId,
    gateway: SocketAddr,
    admin: SocketAddr,
    /// Its process; another one after a crash.
    pid: Option<u32>,
}

#[derive(Serialize)]
struct Written<'a> {
    /// Process id of the run.
    pid: u32,
    #[serde(flatten)]
    at: &'a Addresses,
    edges: &'a [EdgeShown],
    /// The authority to trust for `https://origin.test`.
    origin_ca: &'a Path,
}

impl RunFile {
    /// The file of a run with these edges; not written yet.
    #[must_use]
    pub fn new(dir: &DataDir, at: Addresses, edges: &[Place]) -> Self {
        let shown = |p: &Place| EdgeShown { id: p.id.clone(), gateway: p.gateway, admin: p.admin, pid: None };
        let state = State { edges: edges.iter().map(shown).collect(), published: false };
        Self { path: dir.join(NAME), at, origin_ca: dir.join(CA), state: Mutex::new(state) }
    }

    /// Writes it, now and whenever it changes.
    ///
    /// # Errors
    /// [`Failure::DataDir`].
    pub fn publish(&self) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.published = true;
        self.write(&state)
    }

    /// Notes the process of an edge.
    pub fn started(&self, edge: &EdgeId, pid: Option<u32>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for shown in state.edges.iter_mut().filter(|e| e.id == *edge) {
            shown.pid = pid;
        }
        if state.published
            && let Err(e) = self.write(&state)
        {
            tracing::warn!(error = %e, "{NAME} is out of date");
        }
    }

    /// Removes it: nothing answers any more.
    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    fn write(&self, state: &State) -> Result<(), Failure> {
        let (at, origin_ca) = (&self.at, self.origin_ca.as_path());
        let written = Written { pid: std::process::id(), at, edges: &state.edges, origin_ca };
        let text = serde_json::to_vec_pretty(&written).map_err(|e| Failure::part(NAME, e))?;
        replace(&self.path, &text).map_err(|why| Failure::DataDir { path: self.path.clone(), why })
    }
}
