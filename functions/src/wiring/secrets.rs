//! Secrets in Secrets Manager, kept for five minutes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::platform::{SecretError, Secrets};

/// A rotated secret is in use everywhere after this.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// Secrets under `<prefix>/<name>`. The template makes them; this reads and replaces their values.
pub(super) struct SecretsManager {
    client: Client,
    prefix: String,
    kept: Mutex<HashMap<String, (Instant, SecretString)>>,
}

impl SecretsManager {
    pub fn new(config: &SdkConfig, prefix: String) -> Self {
        Self { client: Client::new(config), prefix, kept: Mutex::default() }
    }

    fn kept(&self, name: &str) -> Option<SecretString> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).filter(|(at, _)| at.elapsed() < KEPT).map(|(_, value)| value.clone())
    }

    fn keep(&self, name: &str, value: SecretString) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), (Instant::now(), value));
    }

    async fn read(&self, name: &str) -> Result<SecretString, SecretError> {
        if let Some(value) = self.kept(name) {
            return Ok(value);
        }
        let answer = self.client.get_secret_value().secret_id(self.id(name)).send().await;
        let answer = answer.map_err(|e| failure(name, &e))?;
        // A secret that holds no text was never given a value that we could use.
        let text = answer.secret_string.ok_or_else(|| SecretError::Missing(name.to_owned()))?;
        let value = SecretString::from(text);
        self.keep(name, value.clone());
        Ok(value)
    }

    async fn write(&self, name: &str, value: SecretString) -> Result<(), SecretError> {
        let put = self.client.put_secret_value().secret_id(self.id(name)).secret_string(value.expose_secret());
        put.send().await.map_err(|e| failure(name, &e))?;
        self.keep(name, value);
        Ok(())
    }

    fn id(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }
}

impl Secrets for SecretsManager {
    fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        let name = name.to_owned();
        async move { self.read(&name).await }.boxed()
    }

    fn put(&self, name: &str, value: SecretString) -> BoxFuture<'_, Result<(), SecretError>> {
        let name = name.to_owned();
        async move { self.write(&name, value).await }.boxed()
    }
}

fn failure<E>(name: &str, error: &SdkError<E>) -> SecretError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code() {
        Some("ResourceNotFoundException") => SecretError::Missing(name.to_owned()),
        _ => SecretError::Unavailable(DisplayErrorContext(error).to_string()),
    }
}
