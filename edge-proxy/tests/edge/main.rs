//! The edge through its own doors: real sockets, a small upstream proxy of the tests' own, the
//! embedded store.

// What a story's helpers cannot do fails the story.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod absolute;
mod admin;
mod connect;
mod crash;
mod lines;
mod live;
mod money;
mod program;
mod refusals;
mod support;
