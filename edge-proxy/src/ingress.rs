//! How connections come in: listening sockets, accepting, what precedes the first request, and
//! what speaks first.

pub(crate) mod accept;
pub(crate) mod detect;
pub(crate) mod entrance;
pub(crate) mod listeners;
pub(crate) mod proxy_protocol;
pub(crate) mod strangers;
pub(crate) mod tls;
