//! One line of the upstream file, understood.

use std::fmt;
use std::sync::Arc;

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tollgate_domain::id::{ProviderId, ProxyId};
use tollgate_domain::upstream::Scheme;

use crate::upstream::spec::Upstream;

/// Longest name of an upstream: with its provider it stays a [`ProxyId`].
const MAX_NAME: usize = 64;

/// What makes a line of the file the same upstream as before: scheme, user, host and port. A
/// changed password or attribute changes nothing here.
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity(Arc<str>);

impl Identity {
    pub fn new(scheme: Scheme, user: Option<&str>, host: &str, port: u16) -> Self {
        Self(match (scheme, user) {
            (Scheme::Direct, _) => "direct".into(),
            (_, Some(user)) => format!("{scheme}://{user}@{host}:{port}").into(),
            (_, None) => format!("{scheme}://{host}:{port}").into(),
        })
    }

    /// As kept on disk.
    pub fn from_kept(text: &str) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of an upstream whose line gives none: `host:port`, told apart by a short hash
    /// where that alone may be ambiguous. It depends on the line alone, so that counters keep
    /// their name whatever happens to other lines.
    fn name(&self, scheme: Scheme, user: Option<&str>, host: &str, port: u16) -> String {
        if scheme == Scheme::Direct {
            return self.0.to_string();
        }
        let mut name = format!("{host}:{port}");
        if user.is_some() || scheme != Scheme::Http || name.len() > MAX_NAME {
            let hash = hex::encode(&Sha256::digest(self.0.as_bytes())[..4]);
            let room = MAX_NAME - hash.len() - 1;
            // Hosts are ASCII.
            name.truncate(room);
            name = format!("{name}~{hash}");
        }
        name
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A row: an upstream, and what makes it the same over reloads.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub identity: Identity,
    pub upstream: Arc<Upstream>,
}

impl Row {
    /// Of an upstream whose id is still to be made: from `name`, else from what it is.
    pub fn new(provider: &ProviderId, name: Option<String>, mut upstream: Upstream) -> Self {
        let user = upstream.credentials.as_ref().map(|(user, _)| user.as_str());
        let (scheme, host, port) = (upstream.scheme, upstream.host.as_str(), upstream.port);
        let identity = Identity::new(scheme, user, host, port);
        let ip = name.unwrap_or_else(|| identity.name(scheme, user, host, port));
        upstream.id = ProxyId { provider: provider.clone(), ip };
        Self { identity, upstream: Arc::new(upstream) }
    }
}

/// Whether two upstreams of one identity are the same to the last attribute.
pub(super) fn same(a: &Upstream, b: &Upstream) -> bool {
    let password = |u: &Upstream| u.credentials.as_ref().map(|(_, p)| p.expose_secret().to_owned());
    a.id == b.id && a.owner == b.owner && a.country == b.country && a.pool == b.pool && password(a) == password(b)
}
