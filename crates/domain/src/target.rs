//! Target policy.
