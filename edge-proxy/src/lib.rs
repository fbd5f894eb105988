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
//! - `worker`, `ingress`: threads, listeners, accepting, and what precedes a request.
//! - `http`, `socks`: heads, frames, refusals. `front`: one client connection. `leg`, `relay`,
//!   `exchange`: moving bytes. `limits`: how many and how fast.
//! - `upstreams`: rows of the file, and the port map.
//! - `meter`, `ledger`, `journal`, `books`: from one system call to the store, exactly.
//! - `directory`, `account`, `line`, `route`, `upstream`: who, over which line, to where.
//! - `feed`, `command`: changes and orders reach live tunnels. `shares`: what each customer uses and needs, told
//!   every 5 s. `peers`, `roll`: which other edges live. `reach`: how long an edge carries on without the store.
//! - `usage_events`: what became of connections, for people to look at. `recovery`: what a crash left behind.
//! - [`program`]: `tollgate-edge`, from its words to its exit code.
//! - [`config`]: settings, and which of them a reload applies. [`access_log`]: one record per connection.
//! - [`takeover`]: listening sockets pass to a successor; `elders`: two lives at once. [`notify`]: systemd.

pub mod access_log;
mod account;
mod admin;
mod auth;
pub mod aws;
mod books;
mod command;
pub mod config;
mod core;
mod deps;
mod directory;
mod edge;
mod elders;
mod exchange;
mod feed;
mod front;
#[cfg(test)]
mod fuzz;
mod http;
mod ingress;
mod journal;
mod ledger;
mod leg;
mod limits;
mod line;
mod meter;
mod metrics;
pub mod notify;
mod peers;
pub mod program;
mod reach;
mod recovery;
mod relay;
mod resolve;
mod retry;
mod roll;
mod route;
mod shares;
mod socks;
mod sources;
pub mod takeover;
mod throttle;
mod tunnel;
mod upstream;
mod upstreams;
mod usage_events;
mod worker;

pub use config::EdgeConfig;
pub use deps::{Assigner, AssignerError, BoxFuture, EdgeDeps, GatewaySecrets, Resolver, SecretError};
pub use edge::{CustomerSnapshot, DrainError, Edge, ReloadHook, Snapshot, StartError};
pub use ingress::tls::TlsError;
pub use journal::JournalError;
pub use resolve::SystemResolver;
pub use tunnel::CloseReason;
pub use upstreams::{LineProblem, PortState, PortStatus, PortsConfig, ReloadError, ReloadReport};
