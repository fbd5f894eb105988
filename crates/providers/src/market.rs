//! The port through which stories buy, list and release addresses.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tollgate_domain::country::Country;
use tollgate_domain::intent::PurchaseAnswer;
use tollgate_domain::money::Money;
use tollgate_domain::refusal::Code;

/// What to buy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuyOrder {
    /// In which zone.
    pub zone: String,
    /// In which country.
    pub country: Country,
    /// How many addresses.
    pub count: u32,
}

/// An address that the provider lists as ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The address, in the provider's spelling.
    pub ip: String,
    /// The country the provider places it in, if it says one we know.
    pub country: Option<Country>,
}

/// How a release ended, as far as its answer proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseAnswer {
    /// The provider accepted it, or does not list the addresses any more.
    Gone,
    /// Nothing is proven; try again.
    Retry {
        /// What was seen.
        reason: String,
        /// Not before, if the provider said so.
        retry_after: Option<Duration>,
    },
}

/// A provider could not be asked, or its answer could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct ProviderError {
    /// Stable code of ours.
    pub code: &'static str,
    /// What was seen; no secret.
    pub reason: String,
}

/// Money at the provider, in millionths of a US dollar; below zero is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What is there.
    pub micros: i64,
    /// What is on its way, in the provider's own sense.
    pub pending_micros: i64,
}

/// What the provider says of our account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// Its word: `active`.
    pub word: String,
    /// Whether the account may use its proxies.
    pub usable: bool,
}

/// One provider's market for addresses.
pub trait ProxyMarket: Send + Sync {
    /// Buys. Sent at most once; every doubt is `PurchaseAnswer::Unknown`.
    fn buy(&self, order: BuyOrder, within: Duration) -> BoxFuture<'_, PurchaseAnswer>;
    /// Gives back exactly `ips` of `zone`.
    fn release(&self, zone: &str, ips: &[String], within: Duration) -> BoxFuture<'_, ReleaseAnswer>;
    /// The addresses that the provider lists as ours in `zone`.
    fn list(&self, zone: &str, within: Duration) -> BoxFuture<'_, Result<Vec<Listed>, ProviderError>>;
    /// How many addresses could be bought in `country`.
    fn count_available(
        &self,
        zone: &str,
        country: Country,
        within: Duration,
    ) -> BoxFuture<'_, Result<u64, ProviderError>>;
    /// What the provider says it charged for `zone` this month.
    fn cost(&self, zone: &str, within: Duration) -> BoxFuture<'_, Result<Money, ProviderError>>;
    /// What is left to spend. Not every provider tells.
    fn balance(&self, within: Duration) -> BoxFuture<'_, Result<Balance, ProviderError>> {
        let _ = within;
        Box::pin(std::future::ready(Err(ProviderError::untold("balance"))))
    }
    /// How the account stands. Not every provider tells.
    fn status(&self, within: Duration) -> BoxFuture<'_, Result<AccountStatus, ProviderError>> {
        let _ = within;
        Box::pin(std::future::ready(Err(ProviderError::untold("status"))))
    }
}

impl ProviderError {
    fn untold(what: &str) -> Self {
        let reason = format!("this provider does not tell its {what}");
        Self { code: Code::ProviderRefused.as_str(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider with nothing to sell and nothing to tell.
    struct Bare;

    impl ProxyMarket for Bare {
        fn buy(&self, _: BuyOrder, _: Duration) -> BoxFuture<'_, PurchaseAnswer> {
            Box::pin(std::future::ready(PurchaseAnswer::NoStock { reason: String::new() }))
        }
        fn release(&self, _: &str, _: &[String], _: Duration) -> BoxFuture<'_, ReleaseAnswer> {
            Box::pin(std::future::ready(ReleaseAnswer::Gone))
        }
        fn list(&self, _: &str, _: Duration) -> BoxFuture<'_, Result<Vec<Listed>, ProviderError>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
        fn count_available(&self, _: &str, _: Country, _: Duration) -> BoxFuture<'_, Result<u64, ProviderError>> {
            Box::pin(std::future::ready(Ok(0)))
        }
        fn cost(&self, _: &str, _: Duration) -> BoxFuture<'_, Result<Money, ProviderError>> {
            Box::pin(std::future::ready(Ok(Money::usd_micros(0))))
        }
    }

    #[tokio::test]
    async fn a_provider_that_does_not_tell_says_so() {
        let market: Box<dyn ProxyMarket> = Box::new(Bare);
        let balance = market.balance(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(balance.to_string(), "PROVIDER_REFUSED: this provider does not tell its balance");
        assert!(market.status(Duration::from_secs(1)).await.is_err());
    }
}
