//! What the listeners share.

use std::io::Write as _;
use std::sync::Mutex;

use secrecy::ExposeSecret as _;
use secrecy::SecretString;
use tokio::task::JoinSet;
use tollgate_domain::time::Timestamp;

use crate::bytes::Bytes;
use crate::config::SandboxConfig;
use crate::dialect::Dialects;
use crate::exits::Exits;
use crate::fault::Faults;
use crate::gateway::control::GatewayControl;
use crate::gateway::names::Names;
use crate::gateway::user::Sessions;
use crate::lock;
use crate::zone::Zone;

pub(crate) struct Shared {
    pub(crate) config: SandboxConfig,
    pub(crate) dialects: Mutex<Dialects>,
    pub(crate) faults: Faults,
    pub(crate) bytes: Bytes,
    pub(crate) exits: Exits,
    pub(crate) names: Names,
    pub(crate) sessions: Sessions,
    pub(crate) gateway: GatewayControl,
    /// Work that goes on without its caller.
    pub(crate) background: Mutex<JoinSet<()>>,
    zone: Mutex<Zone>,
}

impl Shared {
    pub(crate) fn new(config: SandboxConfig, zone: Zone, names: Names) -> Self {
        Self {
            dialects: Mutex::new(config.dialects),
            faults: Faults::default(),
            bytes: Bytes::default(),
            exits: Exits::default(),
            names,
            sessions: Sessions::default(),
            gateway: GatewayControl::default(),
            background: Mutex::new(JoinSet::new()),
            zone: Mutex::new(zone),
            config,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    pub(crate) fn dialects(&self) -> Dialects {
        *lock(&self.dialects)
    }

    /// Reads the zone, or changes what a state file need not keep: renewals that have fallen due
    /// follow from the clock, and how often a listing has hidden an address is no news to keep.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&mut Zone) -> R) -> R {
        f(&mut lock(&self.zone))
    }

    /// Changes the zone and, where there is a state file, writes it before anybody hears of it.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut Zone) -> R) -> R {
        let mut zone = lock(&self.zone);
        let result = f(&mut zone);
        if let Some(path) = &self.config.state_file
            && let Err(error) = save(path, &zone)
        {
            tracing::error!(path = %path.display(), %error, "sandbox state not saved");
        }
        result
    }

    pub(crate) fn is_api_key(&self, key: &str) -> bool {
        same(&self.config.api_key, key)
    }

    pub(crate) fn is_zone_password(&self, password: &str) -> bool {
        same(&self.config.zone_password, password)
    }
}

fn same(secret: &SecretString, given: &str) -> bool {
    secret.expose_secret() == given
}

/// Replaces the file as a whole: a crash leaves the old state or the new one.
fn save(path: &std::path::Path, zone: &Zone) -> std::io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    let mut file = std::fs::File::create(&next)?;
    file.write_all(&serde_json::to_vec(zone)?)?;
    file.flush()?;
    std::fs::rename(&next, path)
}

/// The state kept at `path`; `None` where there is no file yet.
pub(crate) fn load(path: &std::path::Path) -> std::io::Result<Option<Zone>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
