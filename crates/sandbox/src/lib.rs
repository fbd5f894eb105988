//! The outside world on loopback: Bright Data's management API and super-proxy, and an origin
//! behind them, speaking the documented wire formats, with faults on demand.
//!
//! A client that is pointed here cannot tell the difference, except that no money moves. The
//! sandbox keeps its own books, by the clock it is given, so a test can hold the client's idea of
//! money and bytes against the provider's. It shares no code with the client it checks.
//!
//! # Example
//!
//! ```
//! # use std::sync::Arc;
//! # use tollgate_domain::time::{Clock, Timestamp};
//! # struct Fixed;
//! # impl Clock for Fixed {
//! #     fn now(&self) -> Timestamp { Timestamp::from_secs(1_800_000_000) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tollgate_sandbox::{Call, Fault, Sandbox, SandboxConfig};
//!
//! let config = SandboxConfig::new(Arc::new(Fixed), "key".into(), "password".into()).with_stock("nl", 5);
//! let sandbox = Sandbox::start(config).await?;
//! // The next purchase is charged, but its answer never arrives.
//! sandbox.faults().push(Call::Buy, Fault::ChargedButAnswerLost);
//! println!("management API on http://{}, super-proxy on {}", sandbox.api_addr(), sandbox.gateway_addr());
//! assert_eq!(sandbox.total_charged(), 0);
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Main types
//!
//! - [`SandboxConfig`] → [`Sandbox::start`] → [`Sandbox`]: dropping it stops everything.
//! - [`Dialects`]: how the undocumented corners answer; switched at run time.
//! - [`Faults`], [`Call`], [`Fault`]: what goes wrong with which management call.
//! - [`GatewayControl`]: a super-proxy that is down, slow or refuses.
//! - [`LedgerRow`], [`PurchaseCall`]: the provider's books. [`ByteRow`]: its byte counters.
//!
//! # What it serves
//!
//! - Management API: `/zone/ips` (POST, DELETE, GET), `/zone/count_available_ips` and
//!   `/count_available_ips`, `/zone/cost`, `/zone/bw`, `/status`, `/customer/balance`.
//! - `/sandbox/*` on the same listener, with the same key, **not part of Bright Data**: faults,
//!   dialects, stock, addresses, price, gateway, ledger, bytes for people and for other processes (see
//!   `api::control`).
//! - Super-proxy: CONNECT and absolute-form over plain TCP. It resolves `origin.test` and the
//!   names it was configured with, nothing else.
//! - Origin `origin.test`: `/ip`, `/bytes/N`, `/echo`, `/sink`, `/slow/MS`, `/files/NAME`, `/ws`, plain and TLS.

mod address;
mod api;
mod bytes;
mod config;
mod dialect;
mod exits;
mod fault;
mod gateway;
mod ledger;
mod listener;
mod origin;
mod sandbox;
mod shared;
mod zone;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bytes::{ByteCount, ByteRow};
pub use config::{BillingPeriod, Binds, ORIGIN_NAME, SandboxConfig, ZoneKind};
pub use dialect::{
    Addresses, AlreadyGone, BalanceFields, CountPath, Dialects, NewIps, RefusalForm, ReleaseAnswer, ShortStock, SoldOut,
};
pub use fault::{Call, Delay, Fault, Faults};
pub use gateway::control::GatewayControl;
pub use ledger::{Charge, LedgerRow};
pub use sandbox::{Sandbox, SandboxError};
pub use zone::{Answered, PurchaseCall};

/// The guard, whatever a panicking holder left: every update here is complete in itself.
fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}
