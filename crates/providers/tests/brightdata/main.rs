//! The Bright Data client against a provider that misbehaves in every way a socket can.
#![allow(clippy::unwrap_used, clippy::panic)]

mod buy;
mod config;
mod read;
mod release;
mod sandbox;
mod server;
