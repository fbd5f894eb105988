//! Story: an operator closes some of a customer's live tunnels. All of them is
//! [`crate::customers::kick`]; some of them changes no row: it is a command in the change feed,
//! which edges carry out within 2 s.

use serde_json::json;
use tollgate_domain::customer::Customer;
use tollgate_domain::feed::{Command, Selector};
use tollgate_domain::id::CustomerId;
use tollgate_domain::refusal::Refusal;

use crate::customers::find;
use crate::lockout;
use crate::outcome::store;
use crate::platform::Platform;
use crate::trail::{By, NOTHING};

/// Closes the tunnels of `id` that `selector` names and that are open now.
///
/// # Errors
/// `NOT_FOUND`, `STORE_UNAVAILABLE`.
pub async fn kick_some(platform: &Platform, by: &By, id: &CustomerId, selector: Selector) -> Result<Customer, Refusal> {
    let customer = find(platform, id, false).await?;
    let which = json!({ "kicked": selector });
    let command = Command::Kick { customer: id.clone(), selector, at: by.at };
    platform.store.announce_command(&command, platform.now()).await.map_err(store)?;
    by.record(platform, "customer.kick", &format!("customer:{id}"), NOTHING, Some(&which)).await?;
    platform.emit("customer.kick", json!({ "customer": id, "by": by.actor, "which": which["kicked"] })).await;
    lockout::take_in(platform, customer).await
}
