//! The embedded engine through the SDK's door.
#![allow(clippy::unwrap_used)]

mod faults;
mod file;
mod recorder;
mod sdk;
mod server;
mod table;
