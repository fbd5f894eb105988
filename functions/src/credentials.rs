//! The credential stories: rotate one, show the proxy URLs that use one.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tollgate_domain::country::Country;
use tollgate_domain::customer::{Credential, ROTATION_OVERLAP};
use tollgate_domain::id::{CustomerId, LineLabel, UserName};
use tollgate_domain::refusal::{Code, Refusal};
use tollgate_domain::username::user_name;
use tollgate_store::credential::Rotated;

use crate::customers::find;
use crate::outcome::{secret, store};
use crate::passwords::Passwords;
use crate::platform::Platform;
use crate::trail::By;

/// A credential and its password.
pub struct Shown {
    /// The credential.
    pub credential: Credential,
    /// Its password.
    pub password: SecretString,
}

/// Gives a customer's credential the next password. The old one still passes for ten minutes,
/// or not at all if it is to end `at_once`.
///
/// # Errors
/// `NOT_FOUND`; `CONFLICT` if somebody else rotates it at the same time; `STORE_UNAVAILABLE`.
pub async fn rotate(
    platform: &Platform,
    by: &By,
    id: &CustomerId,
    user: &UserName,
    at_once: bool,
) -> Result<Shown, Refusal> {
    find(platform, id, false).await?;
    let no_credential = || Refusal::new(Code::NotFound, "this customer has no such credential");
    let before = platform.store.credential(user).await.map_err(store)?;
    let before = before.filter(|c| c.customer == *id).ok_or_else(no_credential)?;
    let passwords = Passwords::load(&*platform.secrets).await.map_err(secret)?;
    let password = passwords.password(user, before.version.saturating_add(1));
    let verifier = passwords.verifier(&password);
    let overlap = if at_once { Duration::ZERO } else { ROTATION_OVERLAP };
    let rotated = platform.store.rotate_credential(user, before.version, &verifier, overlap, by.at).await;
    let credential = match rotated.map_err(store)? {
        Rotated::Rotated(credential) => *credential,
        Rotated::Stale => return Err(Refusal::new(Code::Conflict, "somebody else is rotating this credential")),
        Rotated::NotFound => return Err(no_credential()),
    };
    by.record(platform, "credential.rotate", &format!("credential:{user}"), Some(&before), Some(&credential)).await?;
    platform.emit("credential.rotated", json!({ "customer": id, "user": user })).await;
    Ok(Shown { credential, password })
}

/// How a customer's tunnels reach one line.
pub struct ProxyUrl {
    /// Which line.
    pub line: LineLabel,
    /// The country it asked for.
    pub country: Country,
    /// The user name that asks for both.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// `host:port` of the gateway.
    pub endpoint: String,
}

impl ProxyUrl {
    /// `http://user:password@host:port`. Neither part has a character that needs an escape.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}@{}", self.user, self.password.expose_secret(), self.endpoint)
    }
}

/// The URLs of these lines, with the customer's first credential; none without a credential.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn proxy_urls(
    platform: &Platform,
    customer: &CustomerId,
    lines: &[(LineLabel, Country)],
) -> Result<Vec<ProxyUrl>, Refusal> {
    let (credentials, passwords) =
        futures_util::future::join(platform.store.credentials(customer), Passwords::load(&*platform.secrets)).await;
    let passwords = passwords.map_err(secret)?;
    let Some(first) = credentials.map_err(store)?.into_iter().next() else { return Ok(vec![]) };
    let password = passwords.password(&first.user, first.version);
    let url = |(line, country): &(LineLabel, Country)| ProxyUrl {
        line: line.clone(),
        country: *country,
        user: user_name(&first.user, line, Some(*country)),
        password: password.clone(),
        endpoint: platform.edge_endpoint.clone(),
    };
    Ok(lines.iter().map(url).collect())
}
