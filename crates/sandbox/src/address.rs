//! The addresses that are for sale: a fixed sequence, so that runs repeat.

use std::net::Ipv4Addr;

/// Addresses of a /24 that look like hosts.
const HOSTS: u32 = 254;
/// Documentation ranges first: a receipt then shows at a glance that nothing real was bought.
const DOCUMENTATION: [[u8; 3]; 3] = [[203, 0, 113], [198, 51, 100], [192, 0, 2]];

/// The `n`-th address; `None` after some 16 million.
pub(crate) fn nth(n: u32) -> Option<Ipv4Addr> {
    let host = u8::try_from(n % HOSTS).ok()? + 1;
    let block = n / HOSTS;
    if let Some([a, b, c]) = usize::try_from(block).ok().and_then(|b| DOCUMENTATION.get(b)) {
        return Some(Ipv4Addr::new(*a, *b, *c, host));
    }
    let block = block - 3;
    let (b, c) = (u8::try_from(block / 256).ok()?, u8::try_from(block % 256).ok()?);
    Some(Ipv4Addr::new(185, b, c, host))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_sequence_starts_in_documentation_ranges_and_never_repeats() {
        assert_eq!(nth(0), Some(Ipv4Addr::new(203, 0, 113, 1)));
        assert_eq!(nth(254), Some(Ipv4Addr::new(198, 51, 100, 1)));
        assert_eq!(nth(3 * 254), Some(Ipv4Addr::new(185, 0, 0, 1)));
        let many: BTreeSet<_> = (0..70_000).map(|n| nth(n).unwrap()).collect();
        assert_eq!(many.len(), 70_000);
        assert_eq!(nth(u32::MAX), None);
    }
}
