//! The two HTTP APIs: what customers may ask ([`customer_router`]) and what operators may
//! ([`admin_router`]).
//!
//! Every answer carries `X-Correlation-Id`; every refusal is the same envelope, in the caller's
//! language, and no internal detail leaves. Handlers are thin: stories do the work.
//!
//! # Layout
//!
//! - `envelope`: the frame around every request; refusals as answers.
//! - `principal`: API keys, roles and scopes, checked as arguments of handlers.
//! - `body`: JSON bodies, queries and path segments, bounded.
//! - `events`: what both routers say of a customer's connections.
//! - `idempotent`: `Idempotency-Key`.
//! - `ips`: what both routers say of source addresses.
//! - `limits`: limits of plans and customers, as written and as shown.
//! - `usage`: what both routers say of a customer's usage.
//! - `views`: nouns as the APIs show them.
//! - `customer`, `admin`: one file per resource.

mod admin;
mod body;
mod customer;
mod envelope;
mod events;
mod idempotent;
mod ips;
mod limits;
mod principal;
mod usage;
mod views;

pub use admin::admin_router;
pub use customer::customer_router;
