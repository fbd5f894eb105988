//! Deferred work as asynchronous invocations: Lambda queues, repeats and, in the end, sends what
//! keeps failing to the dead-letter queue.

use aws_config::SdkConfig;
use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::platform::{Deferred, Later};

pub(super) struct Invocations {
    client: Client,
    assign: String,
    reconcile: String,
}

impl Invocations {
    pub fn new(config: &SdkConfig, assign: String, reconcile: String) -> Self {
        Self { client: Client::new(config), assign, reconcile }
    }

    async fn invoke(&self, work: Deferred) {
        let function = match &work {
            Deferred::Assign { .. } => &self.assign,
            Deferred::Reconcile { .. } => &self.reconcile,
        };
        let payload = match serde_json::to_vec(&work) {
            Ok(json) => Blob::new(json),
            Err(e) => return tracing::error!(reason = %e, "deferred work cannot be written"),
        };
        let call = self.client.invoke().function_name(function).invocation_type(InvocationType::Event).payload(payload);
        if let Err(e) = call.send().await {
            // The schedules find what was not started: the reconciler every five minutes, and an
            // edge asks for its line again.
            let reason = DisplayErrorContext(&e).to_string();
            tracing::error!(function, reason, "deferred work was not started");
        }
    }
}

impl Later for Invocations {
    fn start(&self, work: Deferred) -> BoxFuture<'_, ()> {
        self.invoke(work).boxed()
    }
}
