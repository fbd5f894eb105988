//! Secrets of the local run: one file, for its owner only, made once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tollgate_domain::id::ProviderId;
use tollgate_edge::GatewaySecrets;
use tollgate_functions::platform::{SecretError, Secrets};

use crate::data_dir::{DataDir, replace};
use crate::failure::Failure;

/// Key of the admin API.
pub const ADMIN_KEY: &str = "keys/admin";
/// Key of the seeded customer.
pub const CUSTOMER_KEY: &str = "keys/customer";

const FILE: &str = "secrets.json";
/// Bytes of randomness in a generated secret.
const RANDOM: usize = 24;

/// Secrets by name.
pub struct SecretsFile {
    path: PathBuf,
    kept: Mutex<BTreeMap<String, SecretString>>,
    /// From the environment: never written down.
    lent: BTreeMap<String, SecretString>,
}

impl std::fmt::Debug for SecretsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretsFile({})", self.path.display())
    }
}

impl SecretsFile {
    /// Reads the file of this data directory and makes what is missing of `names`, each with its
    /// prefix. `lent` secrets win over the file's and stay out of it.
    ///
    /// # Errors
    /// A file that cannot be read, understood or written, or no randomness.
    pub fn open(
        dir: &DataDir,
        names: &[(String, &str)],
        lent: BTreeMap<String, SecretString>,
    ) -> Result<Self, Failure> {
        let path = dir.join(FILE);
        let mut kept = BTreeMap::new();
        match std::fs::read(&path) {
            Ok(text) => {
                // The parser's own words may quote a secret.
                let damaged = |_| Failure::Damaged { path: path.clone(), why: "it is not a JSON map of texts".into() };
                let map: BTreeMap<String, String> = serde_json::from_slice(&text).map_err(damaged)?;
                kept.extend(map.into_iter().map(|(name, value)| (name, SecretString::from(value))));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => return Err(Failure::DataDir { path, why }),
        }
        let before = kept.len();
        for (name, prefix) in names {
            if !kept.contains_key(name) {
                kept.insert(name.clone(), random(prefix)?);
            }
        }
        let changed = kept.len() != before;
        let file = Self { path, kept: Mutex::new(kept), lent };
        if changed {
            let kept = file.kept().clone();
            file.write(&kept).map_err(|why| Failure::DataDir { path: file.path.clone(), why })?;
        }
        Ok(file)
    }

    /// The secret with this name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<SecretString> {
        self.lent.get(name).cloned().or_else(|| self.kept().get(name).cloned())
    }

    /// A secret that [`Self::open`] has made sure of.
    ///
    /// # Errors
    /// [`Failure::Part`] if it did not.
    pub fn need(&self, name: &str) -> Result<SecretString, Failure> {
        self.find(name).ok_or_else(|| Failure::part("secrets", format!("there is no secret named {name}")))
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, SecretString>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, kept: &BTreeMap<String, SecretString>) -> std::io::Result<()> {
        let map: BTreeMap<&str, &str> = kept.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
        let text = serde_json::to_vec_pretty(&map)?;
        replace(&self.path, &text)
    }

    fn set(&self, name: &str, value: SecretString) -> std::io::Result<()> {
        let mut kept = self.kept();
        let mut next = kept.clone();
        next.insert(name.to_owned(), value);
        self.write(&next)?;
        *kept = next;
        Ok(())
    }
}

/// A new secret that begins with `prefix`.
pub(crate) fn random(prefix: &str) -> Result<SecretString, Failure> {
    let mut bytes = [0_u8; RANDOM];
    getrandom::fill(&mut bytes).map_err(|e| Failure::part("randomness", e))?;
    Ok(format!("{prefix}{}", hex::encode(bytes)).into())
}

/// The name of a provider's management secret.
#[must_use]
pub fn management(provider: &ProviderId) -> String {
    format!("{provider}/management")
}

/// The name of a provider's gateway password.
#[must_use]
pub fn gateway(provider: &ProviderId) -> String {
    format!("{provider}/gateway")
}

impl Secrets for SecretsFile {
    fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        let found = self.find(name).ok_or_else(|| SecretError::Missing(name.to_owned()));
        async move { found }.boxed()
    }

    fn put(&self, name: &str, value: SecretString) -> BoxFuture<'_, Result<(), SecretError>> {
        let put = self.set(name, value).map_err(|e| SecretError::Unavailable(e.to_string()));
        async move { put }.boxed()
    }
}

impl GatewaySecrets for SecretsFile {
    fn gateway(
        &self,
        provider: &ProviderId,
    ) -> tollgate_edge::BoxFuture<'_, Result<SecretString, tollgate_edge::SecretError>> {
        let name = gateway(provider);
        let found = self.find(&name).ok_or_else(|| tollgate_edge::SecretError(format!("{name} is missing")));
        Box::pin(async move { found })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tollgate_functions::passwords::MASTER;

    use super::*;

    fn names() -> [(String, &'static str); 2] {
        [(MASTER.to_owned(), ""), (ADMIN_KEY.to_owned(), "tga_")]
    }

    #[tokio::test]
    async fn secrets_are_made_once_and_kept_for_their_owner_only() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path(), false).unwrap();
        let first = SecretsFile::open(&dir, &names(), BTreeMap::new()).unwrap();
        let admin = first.need(ADMIN_KEY).unwrap();
        assert!(admin.expose_secret().starts_with("tga_") && admin.expose_secret().len() == 4 + 2 * RANDOM);
        assert!(first.need("brd/gateway").is_err());
        first.put("brd/gateway", "pw".to_owned().into()).await.unwrap();

        let lent = BTreeMap::from([("real/management".to_owned(), SecretString::from("lent".to_owned()))]);
        let second = SecretsFile::open(&dir, &names(), lent).unwrap();
        assert_eq!(second.need(ADMIN_KEY).unwrap().expose_secret(), admin.expose_secret());
        assert_eq!(second.get("brd/gateway").await.unwrap().expose_secret(), "pw");
        assert_eq!(second.get("real/management").await.unwrap().expose_secret(), "lent");
        assert!(matches!(second.get("nobody").await, Err(SecretError::Missing(_))));
        second.put("x", "y".to_owned().into()).await.unwrap();

        let file = dir.join(FILE);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("lent"), "what is lent is not written down");
        assert!(!format!("{second:?}").contains("pw"));
    }

    #[test]
    fn a_damaged_file_is_named_and_not_quoted() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path(), false).unwrap();
        std::fs::write(dir.join(FILE), r#"{"keys/admin": hush"#).unwrap();
        let wrong = SecretsFile::open(&dir, &names(), BTreeMap::new()).unwrap_err().to_string();
        assert!(wrong.contains("secrets.json") && wrong.contains("--reset") && !wrong.contains("hush"), "{wrong}");
    }
}
