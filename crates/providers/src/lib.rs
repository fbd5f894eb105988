//! Clients of providers, behind small traits.
//!
//! - [`market`]: the port through which stories buy, list and release addresses.
//! - [`BrightData`]: Bright Data's account-management API.
//!
//! Providers have no idempotency keys, so a client never repeats a purchase, and says how a call
//! ended only as far as the answer proves it.

pub mod market;

mod api;
mod brightdata;

pub use api::ConfigError;
pub use brightdata::BrightData;
pub use market::{AccountStatus, Balance, BuyOrder, Listed, ProviderError, ProxyMarket, ReleaseAnswer};
