//! The embedded DynamoDB: local runs and tests use it behind the same SDK client that talks to
//! AWS.
//!
//! - [`Engine`]: one database, in memory or in a file, and the clients of it.
//! - [`Faults`]: what a real table does and the engine never would: conflicts, throttling, lost
//!   answers, timeouts, delays. By script or by seed.
//! - [`Recorder`]: which calls were made, in how many sequential waves, for how many units.
//!
//! It does not emulate late indexes or streams, and it is no part of what runs on AWS.

mod client;
mod connector;
mod engine;
mod faults;
mod gate;
mod operation;
mod recorder;

pub use engine::{Engine, OpenError, SweepError};
pub use faults::{Fault, Faults, Injected, Rates, Step};
pub use gate::signed_with;
pub use recorder::{Call, Consumed, Recorder};
