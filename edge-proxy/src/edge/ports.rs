//! The port map of a running edge.

use std::sync::Arc;
use std::time::Instant;

use super::Edge;
use crate::upstreams::{PortStatus, ReloadError, ReloadReport};

impl Edge {
    /// What the ports of the port map are doing; then the upstreams that have none.
    #[must_use]
    pub fn ports(&self) -> Vec<PortStatus> {
        self.core.upstreams.status()
    }

    /// Reads the upstream file again. Tunnels through upstreams that are gone go on.
    ///
    /// # Errors
    /// [`ReloadError`]; all is as before then.
    pub async fn reload_ports(&self) -> Result<ReloadReport, ReloadError> {
        let core = Arc::clone(&self.core);
        let reload = move || core.upstreams.reload(Instant::now());
        self.control.handle.spawn_blocking(reload).await.map_err(|_| ReloadError::Stopping)?
    }
}
