//! Where a body ends, without touching its bytes.

/// How a body is delimited, and how far it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes to go.
    Length(u64),
    Chunked(Chunk),
    UntilClose,
}

/// Place inside a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// Inside a trailer line; `empty` until it has a character.
    Trailer {
        empty: bool,
    },
    TrailerLf {
        empty: bool,
    },
    End,
}

/// The body is not what its head promised.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Framing {
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunk::Size { value: 0, digits: 0 })
    }

    /// Whether the body is complete. [`Framing::UntilClose`] never is.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// Takes the body's share of `bytes`; returns how many they are.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Self::UntilClose => Ok(bytes.len()),
            Self::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                Ok(n)
            }
            Self::Chunked(chunk) => chunk.advance(bytes),
        }
    }
}

impl Chunk {
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::End {
            if let Self::Data { left } = self {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - at);
                *left -= n as u64;
                at += n;
                if *left == 0 {
                    *self = Self::DataCr;
                }
                continue;
            }
            *self = self.next(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn next(self, byte: u8) -> Result<Self, Malformed> {
        Ok(match (self, byte) {
            (Self::Size { value, digits: 1.. }, b'\r') => Self::SizeLf { value },
            (Self::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => Self::Extension { value },
            (Self::Size { value, digits: digits @ 0..15 }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                Self::Size { value: value * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Self::Extension { value }, b'\r') => Self::SizeLf { value },
            (Self::Extension { value }, b) if b != b'\n' => Self::Extension { value },
            (Self::SizeLf { value: 0 }, b'\n') => Self::Trailer { empty: true },
            (Self::SizeLf { value }, b'\n') => Self::Data { left: value },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { value: 0, digits: 0 },
            (Self::Trailer { empty }, b'\r') => Self::TrailerLf { empty },
            (Self::Trailer { .. }, b) if b != b'\n' => Self::Trailer { empty: false },
            (Self::TrailerLf { empty: true }, b'\n') => Self::End,
            (Self::TrailerLf { empty: false }, b'\n') => Self::Trailer { empty: true },
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_ends_at_the_same_byte_however_it_is_cut() {
        let body = b"4;x=1\r\nWiki\r\nA \r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n";
        let all = [&body[..], b"GET next"].concat();
        for cut in 0..body.len() {
            let mut framing = Framing::chunked();
            let first = framing.advance(&all[..cut]).unwrap();
            assert_eq!(first, cut);
            assert!(!framing.is_done());
            assert_eq!(framing.advance(&all[cut..]).unwrap(), body.len() - cut);
            assert!(framing.is_done());
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for body in ["\r\n", "x\r\n", "1\n", "1\r\nab", "1\r\na\r\n\r\n", "1111111111111111\r\n", "1;\n", "0\r\nt\n"] {
            assert_eq!(Framing::chunked().advance(body.as_bytes()), Err(Malformed), "{body:?}");
        }
    }

    #[test]
    fn a_length_takes_no_more_than_it_says() {
        let mut framing = Framing::Length(3);
        assert_eq!(framing.advance(b"ab"), Ok(2));
        assert_eq!(framing.advance(b"cd"), Ok(1));
        assert!(framing.is_done());
        assert_eq!(Framing::UntilClose.advance(b"abc"), Ok(3));
        assert!(!Framing::UntilClose.is_done());
    }
}
