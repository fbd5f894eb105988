//! The edge through its own doors: real sockets, a small upstream proxy of the tests' own, the
//! embedded store.

mod absolute;
mod admin;
mod connect;
mod crash;
mod live;
mod refusals;
mod support;
