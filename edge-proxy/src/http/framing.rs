//! Where a body ends.

/// How a head says its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// By chunks.
    Chunked,
    /// It does not say.
    None,
}

/// A body on its way: tells which bytes belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes are left.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// Everything until the connection closes.
    UntilClose,
}

impl Body {
    pub fn length(n: u64) -> Self {
        Self::Length(n)
    }

    pub fn chunked() -> Self {
        Self::Chunked(Chunked::default())
    }

    pub fn until_close() -> Self {
        Self::UntilClose
    }

    /// Whether nothing more belongs to it.
    pub fn done(&self) -> bool {
        match self {
            Self::Length(n) => *n == 0,
            Self::Chunked(c) => c.done(),
            Self::UntilClose => false,
        }
    }

    /// How many of `bytes`, from the start, belong to the body; they count as passed.
    ///
    /// # Errors
    /// What is wrong with the chunks.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        match self {
            Self::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                Ok(n)
            }
            Self::Chunked(c) => c.advance(bytes),
            Self::UntilClose => Ok(bytes.len()),
        }
    }

    /// The most that may be read without reading past the body, if that is known.
    pub fn at_most(&self) -> Option<u64> {
        match self {
            Self::Length(n) => Some(*n),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}

/// Most bytes of a chunk's extensions, and of all trailers.
const MAX_EXTENSION: u32 = 1024;
const MAX_TRAILERS: u32 = 8192;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    TrailerLine,
    TrailerLf,
    EndLf,
    Done,
}

/// Follows chunked framing byte by byte, strictly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    size: u64,
    digits: u8,
    extra: u32,
}

impl Chunked {
    pub fn done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of `bytes` belong to the body.
    ///
    /// # Errors
    /// What is wrong.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let n = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= n as u64;
                at += n;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, b: u8) -> Result<(), &'static str> {
        self.state = match (self.state, b) {
            (State::Size, b) if b.is_ascii_hexdigit() => {
                self.digits += 1;
                if self.digits > 15 {
                    return Err("a chunk size is too long");
                }
                let digit = char::from(b).to_digit(16).unwrap_or(0);
                self.size = self.size << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return Err("a chunk has no size"),
            (State::Size, b';') => State::Extension,
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size, _) => return Err("a chunk size is not hexadecimal"),
            (State::Extension, b'\n' | 0) => return Err("a chunk extension is malformed"),
            (State::Extension, _) => self.more(MAX_EXTENSION, State::Extension)?,
            (State::SizeLf, b'\n') => {
                (self.digits, self.extra) = (0, 0);
                if self.size == 0 { State::Trailer } else { State::Data }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::Trailer, b'\r') => State::EndLf,
            (State::Trailer, b' ' | b'\t') => return Err("a trailer line is folded"),
            (State::Trailer | State::TrailerLine, b'\n' | 0) => return Err("a trailer is malformed"),
            (State::TrailerLine, b'\r') => State::TrailerLf,
            (State::Trailer | State::TrailerLine, _) => self.more(MAX_TRAILERS, State::TrailerLine)?,
            (State::TrailerLf, b'\n') => State::Trailer,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err("a chunk does not end in CRLF"),
        };
        Ok(())
    }

    fn more(&mut self, limit: u32, next: State) -> Result<State, &'static str> {
        self.extra += 1;
        if self.extra > limit { Err("chunk extensions or trailers are too long") } else { Ok(next) }
    }
}
