//! The nouns and decisions of Tollgate, and nothing else.
//!
//! Everything here is a value or a sans-IO state machine: no IO, no clock, no randomness, no
//! async, no AWS. Time is an argument ([`time::Timestamp`]); money and bytes are integers with a
//! unit in the name.
//!
//! # Layout
//!
//! - [`budget`]: what is consumed and never given back by time (bytes of a quota).
//! - [`daily`]: rows of what moved by day, each with one writer; invoices count them.
//! - [`usage_event`]: what became of connections, for people to look at; nothing is counted from it.
//! - [`share`]: capacity of live edges (threads, QPS, bandwidth).
//! - [`strike`]: the clock that runs while a customer is above its threads.
//! - [`intent`]: a purchase or a release at a provider, and the matching of answers to intents.
//! - [`proxy`]: kinds of upstream, states of a bought address, legal transitions.
//! - [`assignment`]: which proxy serves a line, and the request and reply of `assign`.
//! - [`customer`], [`plan`], [`mod@line`], [`username`]: who may do what.
//! - [`mod@allow`]: source addresses that name a customer.
//! - [`country`]: codes, aliases, fallback chains.
//! - [`refusal`]: every refusal, its status, its words, how to fix it.
//! - [`target`]: which targets an edge may be asked for.
//! - [`feed`]: what live edges must hear of; [`live`]: what they answer when asked.
//! - [`id`], [`time`], [`money`]: the small types under all of these.

pub mod allow;
pub mod assignment;
pub mod budget;
pub mod country;
pub mod customer;
pub mod daily;
pub mod feed;
pub mod id;
pub mod intent;
pub mod line;
pub mod live;
pub mod money;
pub mod plan;
pub mod provider;
pub mod proxy;
pub mod refusal;
pub mod share;
pub mod strike;
pub mod target;
pub mod time;
pub mod upstream;
pub mod usage_event;
pub mod username;
