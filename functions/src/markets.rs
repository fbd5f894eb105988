//! Clients of providers, made from their rows and their `<provider>/management` secrets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tollgate_domain::id::ProviderId;
use tollgate_domain::provider::{Provider, ProviderType};
use tollgate_domain::proxy::ProxyClass;
use tollgate_providers::{BrightData, ProxyMarket};

use crate::platform::{MarketError, Markets, Secrets};

/// Name of the secret with a provider's management key.
#[must_use]
pub fn management_secret(provider: &ProviderId) -> String {
    format!("{provider}/management")
}

/// Real clients. One is kept per provider until its row or its key changes, with its connections.
pub struct ProviderMarkets {
    secrets: Arc<dyn Secrets>,
    kept: Mutex<HashMap<ProviderId, Kept>>,
}

struct Kept {
    row: u64,
    key: SecretString,
    market: Arc<dyn ProxyMarket>,
}

impl ProviderMarkets {
    /// Markets whose keys are in `secrets`.
    #[must_use]
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets, kept: Mutex::default() }
    }

    async fn find(&self, provider: &Provider) -> Result<Arc<dyn ProxyMarket>, MarketError> {
        let failed = |why: String| MarketError { provider: provider.id.clone(), why };
        let key = self.secrets.get(&management_secret(&provider.id)).await.map_err(|e| failed(e.to_string()))?;
        if let Some(market) = self.kept(provider, &key) {
            return Ok(market);
        }
        let market = client(provider, key.clone()).map_err(failed)?;
        let kept = Kept { row: provider.ver, key, market: Arc::clone(&market) };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(provider.id.clone(), kept);
        Ok(market)
    }

    fn kept(&self, provider: &Provider, key: &SecretString) -> Option<Arc<dyn ProxyMarket>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(&provider.id)?;
        let same = kept.row == provider.ver && kept.key.expose_secret() == key.expose_secret();
        same.then(|| Arc::clone(&kept.market))
    }
}

impl Markets for ProviderMarkets {
    fn market(&self, provider: &Provider) -> BoxFuture<'_, Result<Arc<dyn ProxyMarket>, MarketError>> {
        let provider = provider.clone();
        async move { self.find(&provider).await }.boxed()
    }
}

fn client(provider: &Provider, key: SecretString) -> Result<Arc<dyn ProxyMarket>, String> {
    match provider.kind {
        ProviderType::BrightData => {
            let client = BrightData::new(&provider.api_url, &provider.account, key).map_err(|e| e.to_string())?;
            let datacenter = provider.class == ProxyClass::Datacenter;
            Ok(Arc::new(if datacenter { client.datacenter() } else { client }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::SecretError;

    struct OneKey(Mutex<&'static str>);

    impl Secrets for OneKey {
        fn get(&self, name: &str) -> BoxFuture<'_, Result<SecretString, SecretError>> {
            let found = match name {
                "brd/management" => Ok((*self.0.lock().unwrap()).into()),
                other => Err(SecretError::Missing(other.to_owned())),
            };
            async move { found }.boxed()
        }
        fn put(&self, name: &str, _: SecretString) -> BoxFuture<'_, Result<(), SecretError>> {
            let name = name.to_owned();
            async move { Err(SecretError::Unavailable(name)) }.boxed()
        }
    }

    fn row(id: &str, ver: u64) -> Provider {
        serde_json::from_value(serde_json::json!({
            "id": id, "name": "Bright Data", "type": "bright_data", "upstream": { "kind": "exclusive" }, "class": "datacenter",
            "api_url": "http://127.0.0.1:9", "account": "c_1", "zone": "isp", "gateway_host": "127.0.0.1",
            "gateway_port": 1, "price": { "micros": 4_000_000, "currency": "USD" }, "billing_grain": "month",
            "due_rule": "strict", "idle_ttl_s": 3600, "active": true, "health": 100, "ver": ver,
            "created_at": 0, "updated_at": 0,
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_client_is_kept_until_its_row_or_its_key_changes() {
        let secrets = Arc::new(OneKey(Mutex::new("EXAMPLE_KEY")));
        let markets = ProviderMarkets::new(secrets.clone());
        let first = markets.market(&row("brd", 1)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &markets.market(&row("brd", 1)).await.unwrap()));
        let newer = markets.market(&row("brd", 2)).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &newer));
        *secrets.0.lock().unwrap() = "EXAMPLE_KEY_2";
        assert!(!Arc::ptr_eq(&newer, &markets.market(&row("brd", 2)).await.unwrap()));
    }

    #[tokio::test]
    async fn a_provider_without_a_key_or_with_an_unusable_address_has_no_client() {
        let markets = ProviderMarkets::new(Arc::new(OneKey(Mutex::new("EXAMPLE_KEY"))));
        let missing = markets.market(&row("other", 1)).await.err().unwrap();
        assert_eq!(missing.to_string(), "no client for provider other: there is no secret named other/management");
        let mut nowhere = row("brd", 1);
        nowhere.api_url = "nowhere".into();
        assert!(markets.market(&nowhere).await.is_err());
        assert!(!format!("{:?}", markets.market(&nowhere).await.err()).contains("EXAMPLE_KEY"));
    }
}
