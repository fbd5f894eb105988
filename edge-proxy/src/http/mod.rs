//! HTTP/1.1 as a proxy must read it: heads, body framing, refusals. Sans IO. What two parsers
//! could read differently is refused.

pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod refusal;
#[cfg(test)]
mod tests;

pub(crate) use framing::Body;
pub(crate) use head::{RequestHead, ResponseHead};
