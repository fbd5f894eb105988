//! What is billed is what moved: proven with real processes that are killed, ended, and share a
//! quota, and a program that knows nothing of them and compares what clients and the origin counted
//! with what the store holds (`tests/checker/check.py`).
//!
//! Each story starts edges ([`fleet`], [`life`]) between clients and an origin that count
//! ([`tunnel`], [`origin`]). `TOLLGATE_LONG=1` does more of everything, `TOLLGATE_KILLS=<n>` kills
//! that often.

mod ban;
mod clean;
mod cut;
mod fleet;
mod kills;
mod life;
mod origin;
mod quota;
mod tunnel;

/// Relay threads of each edge.
const WORKERS: u64 = 2;
/// Most that a life may leave in doubt: one operation of each worker.
const DOUBT: u64 = WORKERS * (256 << 10);
/// A quota that nobody reaches.
const PLENTY: u64 = 1 << 50;

fn long() -> bool {
    std::env::var_os("TOLLGATE_LONG").is_some()
}

/// How often an edge is killed.
fn kill_count() -> u64 {
    match std::env::var("TOLLGATE_KILLS") {
        Ok(kills) => kills.parse().expect("TOLLGATE_KILLS is a number"),
        Err(_) if long() => 200,
        Err(_) => 20,
    }
}
