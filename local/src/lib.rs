//! `tollgate`: the whole system in one process, for people who try it and for tests; with
//! `--edges`, several edges as processes beside it.
//!
//! The stories, the store, the edge and the provider's client are the ones that run on AWS; here
//! DynamoDB is embedded, functions and schedules run in process by a clock that can jump, and the
//! provider is simulated unless the environment has real credentials.
//!
//! # Layout
//!
//! - [`args`], [`real_provider`]: the command line and the environment. [`failure`]: how it ends badly.
//! - [`system`]: everything, started and ended. [`run`], [`demo`]: the two commands.
//! - [`data_dir`], [`secrets`], [`seed`], [`provider_rows`]: what outlives the process. [`simulator`]: the provider.
//! - [`clock`], [`schedules`], [`in_process`], [`http_api`], [`listen`]: what AWS does elsewhere.
//! - [`edges`]: one in this process, or several. [`fleet`], [`edge_process`], [`front`]: several, one of them, and what
//!   it finds where AWS would be.
//! - [`banner`], [`log`], [`run_file`]: what people and programs see.

pub mod args;
pub mod banner;
pub mod clock;
pub mod data_dir;
pub mod demo;
pub mod edge_process;
pub mod edges;
pub mod failure;
pub mod fleet;
pub mod front;
pub mod http_api;
pub mod in_process;
pub mod listen;
pub mod log;
pub mod provider_rows;
pub mod real_provider;
pub mod run;
pub mod run_file;
pub mod schedules;
pub mod secrets;
pub mod seed;
pub mod simulator;
pub mod system;
