//! What a client speaks, by its first byte: one port serves HTTP, SOCKS5 and TLS.

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// RFC 1928: begins with its version.
    Socks5,
    /// To be refused with [`crate::socks::SOCKS4_REFUSAL`].
    Socks4,
    /// RFC 8446 section 5.1: a handshake record.
    Tls,
    /// A method, or the empty lines that may precede it (RFC 9112 section 2.2).
    Http,
    /// Nothing we know: to be closed without an answer.
    Unknown,
}

impl Protocol {
    /// What speaks so that `first` is its first byte. The byte is not consumed.
    pub fn of(first: u8) -> Self {
        match first {
            0x05 => Self::Socks5,
            0x04 => Self::Socks4,
            0x16 => Self::Tls,
            b'\r' | b'\n' => Self::Http,
            b if token(b) => Self::Http,
            _ => Self::Unknown,
        }
    }
}

/// A character of a token, such as a method (RFC 9110 section 5.6.2).
fn token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_one_meaning() {
        let tokens = "!#$%&'*+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~";
        for b in 0..=u8::MAX {
            let expected = match b {
                4 => Protocol::Socks4,
                5 => Protocol::Socks5,
                0x16 => Protocol::Tls,
                10 | 13 => Protocol::Http,
                _ if b.is_ascii() && tokens.contains(char::from(b)) => Protocol::Http,
                _ => Protocol::Unknown,
            };
            assert_eq!(Protocol::of(b), expected, "{b:#04x}");
        }
    }
}
