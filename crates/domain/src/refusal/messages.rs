//! The words of every refusal.
use super::{Code, Lang};
/// Words for people.
pub(super) struct Text {
    pub(super) message: &'static str,
    pub(super) how_to_fix: &'static str,
}
pub(super) fn text(_: Code, _: Lang) -> Text {
    Text { message: "x", how_to_fix: "y" }
}
