//! Support for the end-to-end tests.
//!
//! # Layout
//!
//! - [`workspace`]: where the repository, its sources and its built binaries are.
//! - [`template`]: `template.yaml` as data, and what its policies grant.
//! - [`function`]: a built function under Lambda's Runtime API.
//! - [`edge`]: a built edge over it.
//! - [`cloud`]: the rest of AWS as functions see it; writes down who calls what.
//! - [`payload`]: the events that AWS sends to functions.
//! - [`shop`]: a cloud with a provider and a customer.
//! - [`local_run`], [`raw_proxy`]: a running `tollgate`, and requests that no client would send.
//! - [`clients`]: real clients with credentials, through a running `tollgate`.

#![allow(clippy::panic, clippy::unwrap_used)] // all of this runs in tests: to fail is to tell

pub mod clients;
pub mod cloud;
pub mod edge;
pub mod function;
pub mod local_run;
pub mod payload;
pub mod raw_proxy;
pub mod shop;
pub mod template;
pub mod workspace;
