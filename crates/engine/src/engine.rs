//! One database and its doors.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use dynoxide::Database;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::connector::InProcess;
use crate::faults::Faults;
use crate::recorder::Recorder;
use crate::{client, gate};

/// How a SQLite file begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// A DynamoDB in this process. Clones share the database.
#[derive(Clone)]
pub struct Engine {
    db: Database,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refuses.
    #[error("cannot open the database file {}: {why}", path.display())]
    File {
        /// The file or the folder that was refused.
        path: PathBuf,
        /// What the system said.
        #[source]
        why: io::Error,
    },
    /// The file is there and is no database, or the database is damaged.
    #[error("cannot use {} as a database: {why}", path.display())]
    Database {
        /// The file; `:memory:` for a database without one.
        path: PathBuf,
        /// What the engine said.
        why: String,
    },
}

/// The sweep of expired items failed; nothing is half deleted, the next one goes on.
#[derive(Debug, thiserror::Error)]
#[error("cannot sweep expired items: {0}")]
pub struct SweepError(String);

impl Engine {
    /// An empty database that ends with its last clone.
    ///
    /// # Errors
    /// [`OpenError::Database`] if the engine cannot start.
    pub fn memory() -> Result<Self, OpenError> {
        let path = PathBuf::from(":memory:");
        Database::memory().map(|db| Self { db }).map_err(|e| OpenError::Database { path, why: e.to_string() })
    }

    /// The database in this file, made (with its folders, readable by its owner only) if it is
    /// not there. What a client was told is written survives `kill -9`.
    ///
    /// # Errors
    /// [`OpenError`], with the path and the reason.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref();
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|why| OpenError::File { path: folder.into(), why })?;
        }
        // The engine would make the file itself, with everybody's permissions and a vague error.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|why| OpenError::File { path: path.into(), why })?;
        let broken = |why: String| OpenError::Database { path: path.into(), why };
        let mut head = Vec::new();
        file.take(MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(|why| OpenError::File { path: path.into(), why })?;
        if !head.is_empty() && head != MAGIC {
            return Err(broken("it is not a SQLite file".into()));
        }
        let utf8 = path.to_str().ok_or_else(|| broken("its name is not UTF-8".into()))?;
        Database::new(utf8).map(|db| Self { db }).map_err(|e| broken(e.to_string()))
    }

    /// A client in this process: no socket, no TLS, no signature check.
    #[must_use]
    pub fn client(&self) -> Client {
        self.connect(None, None)
    }

    /// A client whose calls suffer these faults.
    #[must_use]
    pub fn client_with(&self, faults: Arc<Faults>) -> Client {
        self.connect(Some(faults), None)
    }

    /// A client whose calls are written down, with the capacity they consume.
    #[must_use]
    pub fn client_recorded(&self, recorder: Arc<Recorder>) -> Client {
        self.connect(None, Some(recorder))
    }

    /// A client whose calls suffer these faults and are written down.
    #[must_use]
    pub fn client_with_recorded(&self, faults: Arc<Faults>, recorder: Arc<Recorder>) -> Client {
        self.connect(Some(faults), Some(recorder))
    }

    fn connect(&self, faults: Option<Arc<Faults>>, recorder: Option<Arc<Recorder>>) -> Client {
        client::client(InProcess::new(self.db.clone(), faults, recorder))
    }

    /// Serves the DynamoDB protocol to anybody who reaches `listener`: for tests. Ends when the
    /// handle is aborted.
    #[must_use]
    pub fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        let db = self.db.clone();
        tokio::spawn(async move {
            // Without a shutdown it only returns when the listener is lost; there is nobody to
            // tell but the holder of the handle, who sees it finished.
            let _ = dynoxide::server::serve_with_shutdown(listener, db, std::future::pending()).await;
        })
    }

    /// Serves the DynamoDB protocol to who signs with the access key id `key`: for other
    /// processes of one local run. The signature itself is not checked, so the id is the secret.
    /// Ends, with its connections, when the handle is aborted.
    #[must_use]
    pub fn serve_with_key(&self, listener: TcpListener, key: SecretString) -> JoinHandle<()> {
        tokio::spawn(gate::serve(listener, self.db.clone(), key))
    }

    /// Deletes the items whose time to live is over; how many. Real tables do that by
    /// themselves, this one must be asked to.
    ///
    /// # Errors
    /// [`SweepError`] if the database fails.
    pub async fn sweep_ttl(&self) -> Result<usize, SweepError> {
        let db = self.db.clone();
        let swept = tokio::task::spawn_blocking(move || db.sweep_ttl()).await;
        swept.map_err(|e| SweepError(e.to_string()))?.map_err(|e| SweepError(e.to_string()))
    }
}
