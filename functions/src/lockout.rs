//! Lock-outs of the strike clock. Edges set them, and may not write a customer's row: they lie in
//! its share. Wherever standing is told or decided here, they are taken in.

use tollgate_domain::customer::Customer;
use tollgate_domain::refusal::Refusal;

use crate::outcome::store;
use crate::platform::Platform;

/// The customer with the lock that a strike set, if one did.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn take_in(platform: &Platform, customer: Customer) -> Result<Customer, Refusal> {
    let share = platform.store.cap(&customer.id).await.map_err(store)?;
    Ok(customer.with_lock(share.and_then(|s| s.strike.locked_until)))
}

/// As [`take_in`], of many at once.
///
/// # Errors
/// `STORE_UNAVAILABLE`.
pub async fn take_in_all(platform: &Platform, customers: Vec<Customer>) -> Result<Vec<Customer>, Refusal> {
    futures_util::future::try_join_all(customers.into_iter().map(|c| take_in(platform, c))).await
}
