//! Who is compared, each a process of its own.

pub mod copy;
pub mod haproxy;
pub mod splice;
pub mod tollgate;

use std::net::SocketAddr;

use crate::Res;
use crate::client::{Door, basic};
use crate::cloud;
use crate::cores::{Cores, Place};
use crate::process::Process;
use crate::rows::Rows;
use crate::upstream::AUTHORIZATION;

/// One of those compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// See [`splice`].
    Splice,
    /// See [`tollgate`].
    Tollgate,
    /// See [`haproxy`].
    Haproxy,
    /// See [`haproxy`].
    HaproxyTcp,
    /// See [`copy`].
    Copy,
}

impl Contender {
    /// In the order of the table.
    pub const ALL: [Self; 5] = [Self::Splice, Self::Tollgate, Self::Haproxy, Self::HaproxyTcp, Self::Copy];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Splice => "splice",
            Self::Tollgate => "tollgate",
            Self::Haproxy => "haproxy",
            Self::HaproxyTcp => "haproxy-tcp",
            Self::Copy => "copy",
        }
    }

    /// The contender of a name.
    ///
    /// # Errors
    /// If there is none.
    pub fn named(name: &str) -> Res<Self> {
        let found = Self::ALL.into_iter().find(|c| c.name() == name);
        found.ok_or_else(|| format!("no contender {name}; there are {:?}", Self::ALL.map(Self::name)).into())
    }

    /// What it does and what it does not, so that nobody compares apples with pears.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::Splice => splice::WHAT,
            Self::Tollgate => tollgate::WHAT,
            Self::Haproxy => haproxy::WHAT,
            Self::HaproxyTcp => haproxy::WHAT_TCP,
            Self::Copy => copy::WHAT,
        }
    }

    /// Why it cannot take part on this machine.
    #[must_use]
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::Haproxy | Self::HaproxyTcp => haproxy::missing(),
            _ => None,
        }
    }

    /// Starts it in front of the upstream at `upstream`.
    ///
    /// # Errors
    /// If it does not begin.
    pub fn start(self, cores: &Cores, upstream: SocketAddr) -> Res<Running> {
        match self {
            Self::Tollgate => tollgate::start(cores, upstream),
            Self::Haproxy => haproxy::start(cores, upstream, true),
            Self::HaproxyTcp => haproxy::start(cores, upstream, false),
            Self::Splice | Self::Copy => {
                let rest = [upstream.to_string()];
                let (process, at) = Process::role(cores, Place::Proxy, self.name(), &rest)?;
                let door = Door { at: at[0], authorization: AUTHORIZATION.clone() };
                Ok(Running { door, process, rows: None, _beside: None })
            }
        }
    }
}

/// A proxy under test; stopped when dropped.
pub struct Running {
    /// Where its clients knock.
    pub door: Door,
    pub process: Process,
    /// Its file of upstreams, where it has one.
    pub rows: Option<Rows>,
    /// What it needs beside it; ended after it.
    pub _beside: Option<Beside>,
}

/// Other processes and files of a proxy.
pub struct Beside {
    pub _process: Option<Process>,
    pub _folder: tempfile::TempDir,
}

/// What a customer says whose credentials the proxy checks.
#[must_use]
pub fn customer(user: &str) -> String {
    basic(user, cloud::PASSWORD)
}
