//! The ports of [`crate::platform`] on AWS, made once per cold start. AWS SDK types stay in here.

mod events;
mod later;
mod secrets;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use tollgate_store::{Store, SystemClock};

pub use self::settings::{MissingSetting, Settings};
use crate::markets::ProviderMarkets;
use crate::platform::{Bounds, Platform};

/// A call to AWS, with all its repetitions, ends within this: a story's own bounds are longer.
const CALL: Duration = Duration::from_secs(6);
/// One attempt of it.
const ATTEMPT: Duration = Duration::from_millis(2500);
/// Connecting.
const CONNECT: Duration = Duration::from_secs(1);

/// Starts the log and makes the platform from the function's environment.
///
/// # Errors
/// [`MissingSetting`], which ends the cold start with the setting's name.
pub async fn start() -> Result<Arc<Platform>, MissingSetting> {
    log();
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(ATTEMPT).operation_timeout(CALL);
    let defaults = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts.build());
    let config = Box::pin(defaults.load()).await;
    Ok(Arc::new(platform(&config, settings)))
}

/// The platform over these clients.
#[must_use]
pub fn platform(config: &SdkConfig, settings: Settings) -> Platform {
    let secrets = Arc::new(secrets::SecretsManager::new(config, settings.secret_prefix));
    Platform {
        store: Store::new(aws_sdk_dynamodb::Client::new(config), settings.table_prefix),
        clock: Arc::new(SystemClock),
        markets: Arc::new(ProviderMarkets::new(secrets.clone())),
        secrets,
        events: Arc::new(events::EventBridge::new(config, settings.event_bus)),
        later: Arc::new(later::Invocations::new(config, settings.assign_function, settings.reconcile_function)),
        edge_endpoint: settings.edge_endpoint,
        bounds: Bounds { private_sources: settings.private_sources, ..Bounds::default() },
    }
}

/// One JSON object per line on standard output, where Lambda collects it; `RUST_LOG` filters.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let format = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_ansi(false);
    // A second call in one process keeps the first log.
    let _ = format.with_env_filter(filter).try_init();
}

#[cfg(test)]
mod tests;
