//! The header lines of a head, and its other pieces, as sent.

use tollgate_domain::refusal::Refusal;

use super::invalid;

/// Where a piece of a head is within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    from: u32,
    to: u32,
}

/// The header lines of a head, as sent: one copy of its bytes, and where each piece is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    raw: Vec<u8>,
    /// Name and value.
    lines: Vec<(Span, Span)>,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl Header<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl Lines {
    pub(super) fn new(raw: &[u8], headers: &[httparse::Header<'_>]) -> Self {
        let span = |piece: &[u8]| span(raw, piece);
        let lines = headers.iter().map(|h| (span(h.name.as_bytes()), span(h.value))).collect();
        Self { raw: raw.to_vec(), lines }
    }

    fn get(&self, span: Span) -> &[u8] {
        self.raw.get(span.from as usize..span.to as usize).unwrap_or_default()
    }

    pub(super) fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.get(span)).unwrap_or_default()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'_>> {
        self.lines.iter().map(|(name, value)| Header { name: self.get(*name), value: self.get(*value) })
    }

    /// Those with this name.
    pub fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |h| h.is(name)).map(|h| h.value)
    }

    /// The only value of a header; `None` if it is not there.
    ///
    /// # Errors
    /// `REQUEST_INVALID` if it is there twice, or is not text.
    pub fn only(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let mut found = self.all(name);
        let Some(first) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(invalid(format!("the header {name} is there more than once")));
        }
        std::str::from_utf8(first).map(Some).map_err(|_| invalid(format!("the header {name} is not text")))
    }

    /// Whether a list header has this word.
    pub fn says(&self, name: &'static str, word: &str) -> bool {
        self.all(name).flat_map(tokens).any(|t| t.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Where `piece`, a part of `whole`, is within it; nowhere if it is no part of it.
pub(super) fn span(whole: &[u8], piece: &[u8]) -> Span {
    let from = (piece.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    match (u32::try_from(from), u32::try_from(from.wrapping_add(piece.len()))) {
        (Ok(from), Ok(to)) if to as usize <= whole.len() => Span { from, to },
        _ => Span::default(),
    }
}

pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}
