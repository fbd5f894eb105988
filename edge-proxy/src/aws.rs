//! The edge on AWS: tables in DynamoDB, secrets in Secrets Manager, the assigner a Lambda
//! function. The only module of the edge that knows the SDK.

use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use secrecy::SecretString;
use tollgate_domain::assignment::{AssignReply, AssignRequest};
use tollgate_domain::id::ProviderId;
use tollgate_store::{Store, SystemClock};

use crate::SystemResolver;
use crate::config::Settings;
use crate::deps::{Assigner, AssignerError, BoxFuture, EdgeDeps, GatewaySecrets, SecretError};

/// A function's own limit is shorter; this one is for a network that is silent.
const INVOKE_TIME: Duration = Duration::from_secs(25);
/// One call to the store, its repetitions included.
const STORE_TIME: Duration = Duration::from_secs(10);

/// What an edge on AWS works with.
///
/// # Errors
/// [`SecretError`] if the pepper cannot be read.
pub async fn deps(settings: &Settings) -> Result<EdgeDeps, SecretError> {
    let shared = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let timeouts = |t| TimeoutConfig::builder().operation_timeout(t).build();
    let tables = aws_sdk_dynamodb::config::Builder::from(&shared).timeout_config(timeouts(STORE_TIME)).build();
    // Never twice: a purchase may hang on it. A lost answer is found by the next request.
    let invoke = aws_sdk_lambda::config::Builder::from(&shared)
        .timeout_config(timeouts(INVOKE_TIME))
        .retry_config(RetryConfig::disabled())
        .build();
    let secrets =
        Secrets { client: aws_sdk_secretsmanager::Client::new(&shared), prefix: settings.secret_prefix.clone() };
    Ok(EdgeDeps {
        store: Store::new(aws_sdk_dynamodb::Client::from_conf(tables), settings.table_prefix.clone()),
        clock: Arc::new(SystemClock),
        resolver: Arc::new(SystemResolver),
        assigner: Arc::new(Function {
            client: aws_sdk_lambda::Client::from_conf(invoke),
            name: settings.assign_function.clone(),
        }),
        pepper: secrets.read(&settings.pepper_secret).await?,
        secrets: Arc::new(secrets),
    })
}

/// The `assign` function.
struct Function {
    client: aws_sdk_lambda::Client,
    name: String,
}

impl Assigner for Function {
    fn assign(&self, req: AssignRequest) -> BoxFuture<'_, Result<AssignReply, AssignerError>> {
        Box::pin(async move {
            let payload = serde_json::to_vec(&req).map_err(|e| AssignerError(e.to_string()))?;
            let call = self.client.invoke().function_name(&self.name).payload(Blob::new(payload));
            let out = call.send().await.map_err(|e| AssignerError(DisplayErrorContext(&e).to_string()))?;
            if let Some(kind) = out.function_error() {
                return Err(AssignerError(format!("the function failed: {kind}")));
            }
            let answer = out.payload().map(|b| b.as_ref()).unwrap_or_default();
            serde_json::from_slice(answer).map_err(|e| AssignerError(format!("unreadable answer: {e}")))
        })
    }
}

struct Secrets {
    client: aws_sdk_secretsmanager::Client,
    prefix: String,
}

impl Secrets {
    async fn read(&self, name: &str) -> Result<SecretString, SecretError> {
        let found = self.client.get_secret_value().secret_id(name).send().await;
        let found = found.map_err(|e| SecretError(format!("{name}: {}", DisplayErrorContext(&e))))?;
        let text = found.secret_string.ok_or_else(|| SecretError(format!("{name} is not text")))?;
        Ok(text.into())
    }
}

impl GatewaySecrets for Secrets {
    fn gateway(&self, provider: &ProviderId) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        let name = format!("{}{provider}/gateway", self.prefix);
        Box::pin(async move { self.read(&name).await })
    }
}
