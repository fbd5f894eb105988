//! Why the local run ends with an error: one line for people, and the exit code that
//! `sysexits.h` has for it.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The local run cannot start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The data directory cannot be written.
    #[error("cannot write to the data directory {}: {why}; name another one with --data-dir", path.display())]
    DataDir {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error(
        "another tollgate runs on the data directory {}: stop it, or name another one with --data-dir",
        .0.display()
    )]
    Locked(PathBuf),
    /// `--reset` of a folder that no run of ours has made.
    #[error("--reset refused: {} was not made by tollgate; nothing was deleted", .0.display())]
    NotOurs(PathBuf),
    /// The demo's data directory is not a new one.
    #[error(
        "{} holds the data of an earlier run: the demo begins anew; name another one with --data-dir, or add --reset",
        .0.display()
    )]
    Used(PathBuf),
    /// A file of the data directory does not say what it should.
    #[error("{} cannot be used: {why}; --reset begins anew", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something else listens where we should.
    #[error("port {} is in use ({addr}): stop what uses it, or choose another one with {flag}", addr.port())]
    PortInUse {
        /// Where.
        addr: SocketAddr,
        /// The flag that moves it.
        flag: &'static str,
    },
    /// An address cannot be listened on for another reason.
    #[error("cannot listen on {addr}: {why}; choose another address with {flag}")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        why: std::io::Error,
        /// The flag that moves it.
        flag: &'static str,
    },
    /// The environment gives half of a provider's credentials, or nonsense.
    #[error("environment: {0}")]
    Environment(String),
    /// A part did not start or did not end.
    #[error("{what}: {why}")]
    Part {
        /// Which.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// The demo's story went another way than it should.
    #[error("the demo failed: {0}")]
    Demo(String),
}

impl Failure {
    /// A part that failed with `why`.
    pub fn part(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Part { what, why: why.to_string() }
    }

    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::DataDir { .. } | Self::Used(_) => 73,
            Self::Locked(_) => 75,
            Self::NotOurs(_) => 77,
            Self::Damaged { .. } => 65,
            Self::PortInUse { .. } | Self::Bind { .. } => 69,
            Self::Environment(_) => 78,
            Self::Part { .. } => 70,
            Self::Demo(_) => 1,
        }
    }
}
