//! Version 2: binary. Signature, version and command, family, length; then addresses and TLVs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAX_LENGTH, Malformed, Parsed, begins};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TYPE_CRC32C: u8 = 0x03;

pub(super) fn parse(buf: &[u8]) -> Result<Parsed, Malformed> {
    if !begins(buf, &SIGNATURE)? {
        return Ok(Parsed::Incomplete);
    }
    let Some(command) = buf.get(12).copied() else { return Ok(Parsed::Incomplete) };
    if command != LOCAL && command != PROXY {
        return Err(Malformed("an unknown version or command"));
    }
    let Some(family) = buf.get(13).copied() else { return Ok(Parsed::Incomplete) };
    // LOCAL: the balancer speaks for itself, and the rest, the family included, is to be skipped.
    let addresses = if command == LOCAL { None } else { addresses(family)? };
    let &[_, _, high, low, ..] = &buf[12..] else { return Ok(Parsed::Incomplete) };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let tlvs = FIXED + addresses.unwrap_or(0);
    if length < tlvs || length > MAX_LENGTH {
        return Err(Malformed("the length is out of bounds"));
    }
    let header = &buf[..buf.len().min(length)];
    if addresses.is_some() {
        check_tlvs(header, tlvs, length)?;
    }
    if header.len() < length {
        return Ok(Parsed::Incomplete);
    }
    Ok(Parsed::Complete { length, source: if command == LOCAL { None } else { source(family, &header[FIXED..]) } })
}

/// Bytes of a family's addresses; `None` for UNSPEC, whose content has no known form.
fn addresses(family: u8) -> Result<Option<usize>, Malformed> {
    match family {
        0x00 => Ok(None),
        0x11 | 0x12 => Ok(Some(12)),
        0x21 | 0x22 => Ok(Some(36)),
        0x31 | 0x32 => Ok(Some(216)),
        _ => Err(Malformed("an unknown family or transport")),
    }
}

/// The source of a stream over IP.
fn source(family: u8, block: &[u8]) -> Option<SocketAddr> {
    match family {
        0x11 => {
            let (ip, rest) = block.split_first_chunk::<4>()?;
            let port = rest.get(4..6)?.first_chunk::<2>()?;
            Some((Ipv4Addr::from(*ip), u16::from_be_bytes(*port)).into())
        }
        0x21 => {
            let (ip, rest) = block.split_first_chunk::<16>()?;
            let port = rest.get(16..18)?.first_chunk::<2>()?;
            Some((Ipv6Addr::from(*ip), u16::from_be_bytes(*port)).into())
        }
        _ => None,
    }
}

/// Skips the TLVs from `at` on as far as they are there: each must end within `length`, and a
/// checksum must be right.
fn check_tlvs(header: &[u8], mut at: usize, length: usize) -> Result<(), Malformed> {
    let mut checksum = None;
    while at < length {
        if length - at < 3 {
            return Err(Malformed("a TLV is cut off"));
        }
        let Some(&[kind, high, low]) = header.get(at..at + 3) else { return Ok(()) };
        let (value, size) = (at + 3, usize::from(u16::from_be_bytes([high, low])));
        at = value + size;
        if at > length {
            return Err(Malformed("a TLV is longer than the header"));
        }
        if kind == TYPE_CRC32C && (size != 4 || checksum.replace(value).is_some()) {
            return Err(Malformed("not one checksum of four bytes"));
        }
    }
    let Some(value) = checksum.filter(|_| header.len() == length) else { return Ok(()) };
    let said = &header[value..value + 4];
    // Computed with the checksum itself as zeroes.
    let sum = [&header[..value], &[0; 4], &header[value + 4..]].into_iter().fold(!0, crc32c);
    if (!sum).to_be_bytes() == said { Ok(()) } else { Err(Malformed("the checksum is wrong")) }
}

/// One more piece of a CRC-32C (RFC 9260 appendix A), which begins and ends inverted. Bit by bit:
/// it runs once per connection, over a few hundred bytes.
pub(super) fn crc32c(sum: u32, bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    bytes.iter().fold(sum, |sum, b| {
        (0..8).fold(sum ^ u32::from(*b), |sum, _| (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg()))
    })
}
