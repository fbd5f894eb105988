//! The edge: what customers connect to, and where a byte is counted.
//!
//! accept → read a head → authenticate → target policy → admission → route → dial → only then
//! answer 200 → relay, metered → close with a reason → settle.
//!
//! Relay workers are threads of their own, each with its own runtime and sockets; they never
//! touch the store. One control thread does: it loads customers, asks for assignments, reads the
//! change feed, and keeps each active customer's books.
//!
//! # Layout
//!
//! - [`Edge`]: one running edge; [`EdgeConfig`], [`EdgeDeps`]: what it is given.
//! - `http`: heads, framing, refusals. `front`: one client connection. `relay`, `exchange`: moving bytes.
//! - `meter`, `ledger`, `journal`, `books`: from one system call to the store, exactly.
//! - `directory`, `account`, `line`, `route`, `upstream`: who, over which line, to where.
//! - `feed`: changes reach live tunnels. `recovery`: what a crash left behind.

mod account;
mod admin;
mod auth;
pub mod aws;
mod books;
pub mod config;
mod core;
mod deps;
mod directory;
mod edge;
mod exchange;
mod feed;
mod front;
mod http;
mod journal;
mod ledger;
mod line;
mod meter;
mod metrics;
mod recovery;
mod relay;
mod retry;
mod route;
mod throttle;
mod tunnel;
mod upstream;
mod worker;

pub use config::EdgeConfig;
pub use deps::{Assigner, AssignerError, BoxFuture, EdgeDeps, GatewaySecrets, SecretError};
pub use edge::{CustomerSnapshot, DrainError, Edge, Snapshot, StartError};
pub use journal::JournalError;
pub use tunnel::CloseReason;
