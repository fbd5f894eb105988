//! The edge through its own doors: real sockets, a small upstream proxy of the tests' own, the
//! embedded store.

// What a story's helpers cannot do fails the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod absolute;
mod admin;
mod attempts;
mod commands;
mod connect;
mod cost;
mod crash;
mod detect;
mod ends;
mod events;
mod fleet;
mod framing;
mod front;
mod limits;
mod lines;
mod live;
mod memory;
mod money;
mod packaging;
mod policy;
mod ports;
mod power;
mod program;
mod proof;
mod reach;
mod refusals;
mod rules;
mod sequences;
mod slow;
mod socks;
mod sources;
mod strangers;
mod support;
mod takeover;
mod udp;
mod upstreams;
