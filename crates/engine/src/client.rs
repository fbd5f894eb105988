//! The settings of a client that does not leave the process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::http::{SharedHttpClient, SharedHttpConnector, http_client_fn};

use crate::connector::InProcess;

/// Attempts of one call, the first included.
const ATTEMPTS: u32 = 3;

/// Wait before the first repetition; real tables want more, a test wants less.
const BACKOFF: Duration = Duration::from_millis(10);

/// Each client has its own retry quota: one that suffers faults must not starve another.
static CLIENTS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn client(connector: InProcess) -> Client {
    let connector = SharedHttpConnector::new(connector);
    let http: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
    let partition = format!("tollgate-engine-{}", CLIENTS.fetch_add(1, Ordering::Relaxed));
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "tollgate-engine"))
        // Never dialled.
        .endpoint_url("http://engine.invalid")
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(BACKOFF))
        .retry_partition(RetryPartition::new(partition))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}
