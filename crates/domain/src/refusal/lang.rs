//! Languages of the words for people.

/// A language that messages exist in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Brazilian Portuguese.
    PtBr,
}

/// Longest `Accept-Language` that is read, in bytes; the rest is ignored.
const HEADER_MAX: usize = 512;

impl Lang {
    /// The language an `Accept-Language` header prefers: highest q-value first, then order of
    /// mention; English if it names none of ours.
    #[must_use]
    pub fn from_accept_language(header: &str) -> Self {
        let mut best: Option<(u16, Self)> = None;
        let read = &header[..header.floor_char_boundary(HEADER_MAX)];
        for range in read.split(',') {
            let (tag, params) = range.split_once(';').map_or((range, None), |(t, p)| (t, Some(p)));
            let Some(lang) = Self::of_tag(tag.trim()) else { continue };
            let q = params.map_or(Some(1000), weight_milli).unwrap_or(0);
            if q > best.map_or(0, |(q, _)| q) {
                best = Some((q, lang));
            }
        }
        best.map_or(Self::En, |(_, lang)| lang)
    }

    /// The BCP 47 tag, for `Content-Language`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::PtBr => "pt-BR",
        }
    }

    /// Any Portuguese gets the one we have; `*` gets English.
    fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or(tag);
        if primary == "*" || primary.eq_ignore_ascii_case("en") {
            Some(Self::En)
        } else if primary.eq_ignore_ascii_case("pt") {
            Some(Self::PtBr)
        } else {
            None
        }
    }
}

/// `q=0.8` in thousandths (RFC 9110 section 12.4.2: at most three decimals); `None` if malformed.
fn weight_milli(params: &str) -> Option<u16> {
    let q = params.trim().strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim();
    let (whole, frac) = q.split_once('.').unwrap_or((q, ""));
    if frac.len() > 3 || !frac.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let milli: u16 = format!("{frac:0<3}").parse().ok()?;
    match whole {
        "0" => Some(milli),
        "1" if milli == 0 => Some(1000),
        _ => None,
    }
}
