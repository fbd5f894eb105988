//! The control plane: one file per story, and thin binaries that AWS Lambda runs.
//!
//! # Layout
//!
//! - [`platform`]: the ports that stories stand on.
//! - [`assign`], [`close_line`], [`release_idle`], [`reconcile`], [`create_budgets`],
//!   [`expire_leases`], [`rollup`], [`metrics`], [`proxy_use`]: the stories.
//! - [`live`], [`kick`], [`rotate_logs`], [`edges`]: what edges are asked and told to do, and where each stands.
//! - [`customers`], [`credentials`], [`passwords`], [`sources`], [`lockout`], [`trail`]: customers, their credentials,
//!   their source addresses and locks, who did what to them.
//! - [`api`]: the HTTP APIs of customers and of operators.
//! - [`lambda`], [`wiring`], [`markets`]: what joins them to AWS and to providers.

pub mod api;
pub mod assign;
pub mod close_line;
pub mod create_budgets;
pub mod credentials;
pub mod customers;
pub mod edges;
pub mod expire_leases;
pub mod kick;
pub mod lambda;
pub mod live;
pub mod lockout;
pub mod markets;
pub mod metrics;
mod outcome;
pub mod passwords;
pub mod platform;
pub mod proxy_use;
mod random;
pub mod reconcile;
pub mod release_idle;
pub mod rollup;
pub mod rotate_logs;
pub mod sources;
pub mod trail;
pub mod wiring;
