//! Events on an EventBridge bus.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::error::DisplayErrorContext;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::platform::{Event, Events};

/// Who says it.
const SOURCE: &str = "tollgate";
/// How often an event that the bus refuses is offered.
const OFFERS: u32 = 3;
/// Wait before the second offer; doubled for the third.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct EventBridge {
    client: Client,
    bus: String,
}

impl EventBridge {
    pub fn new(config: &SdkConfig, bus: String) -> Self {
        Self { client: Client::new(config), bus }
    }

    /// Offers the event until the bus takes it. The answer 200 may well refuse it: only
    /// `FailedEntryCount` tells. A call that fails was repeated by the SDK already.
    async fn send(&self, event: Event) {
        let entry = PutEventsRequestEntry::builder()
            .source(SOURCE)
            .detail_type(&event.kind)
            .detail(detail(&event))
            .time(DateTime::from_millis(i64::try_from(event.at.as_millis()).unwrap_or(i64::MAX)))
            .event_bus_name(&self.bus)
            .build();
        let mut why = String::new();
        for offer in 0..OFFERS {
            if offer > 0 {
                tokio::time::sleep(PAUSE * offer).await;
            }
            match self.client.put_events().entries(entry.clone()).send().await {
                Ok(answer) if answer.failed_entry_count == 0 => return,
                Ok(answer) => {
                    let code = answer.entries().iter().find_map(|e| e.error_code());
                    why = code.unwrap_or("no code").to_owned();
                }
                Err(e) => {
                    why = DisplayErrorContext(&e).to_string();
                    break;
                }
            }
        }
        tracing::error!(event.kind = %event.kind, reason = %why, "an event was not sent");
    }
}

impl Events for EventBridge {
    fn emit(&self, event: Event) -> BoxFuture<'_, ()> {
        self.send(event).boxed()
    }
}

/// The bus takes objects only.
fn detail(event: &Event) -> String {
    match &event.detail {
        object @ serde_json::Value::Object(_) => object.to_string(),
        other => serde_json::json!({ "value": other }).to_string(),
    }
}
