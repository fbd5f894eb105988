//! Logins of a customer.

use std::sync::{Arc, PoisonError, RwLock};

use tollgate_domain::customer::Credential;
use tollgate_domain::id::UserName;
use tollgate_domain::time::Timestamp;

use super::Account;

/// A credential in use here; none once it is removed.
pub(crate) struct Login {
    pub user: UserName,
    pub account: Arc<Account>,
    pub credential: RwLock<Option<Credential>>,
}

impl Login {
    /// Whether a password that matched `verifier` still passes.
    pub fn passes(&self, verifier: &str, now: Timestamp) -> bool {
        let credential = self.credential.read().unwrap_or_else(PoisonError::into_inner);
        credential.as_ref().is_some_and(|c| {
            c.verifier == verifier || c.previous.as_ref().is_some_and(|p| p.verifier == verifier && now < p.until)
        })
    }
}
