//! Inputs that are almost right.

/// No input gets longer than this, in bytes.
const LONGEST: usize = 2048;
/// Most changes to one input.
const CHANGES: usize = 5;
/// Bytes at which parsers turn.
const TURNS: &[u8] = b"\0\x01\x02\x03\x04\x05\x16 \t\r\n:;,.-/@%[]0919afAFxX\x7F\x80\xC3\xFE\xFF";

/// Numbers that look random and are the same every time (xorshift64*).
pub(super) struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        // Spread, so that neighbours have nothing in common; never zero.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One of `0..n`; 0 if there is none.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from((self.next() >> 16) % (n.max(1) as u64)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A place in `bytes`, and another that does not lie before it; mostly near.
    fn range(&mut self, bytes: &[u8]) -> (usize, usize) {
        let from = self.below(bytes.len() + 1);
        let most = if self.below(4) == 0 { bytes.len() } else { 8 };
        (from, (from + self.below(most + 1)).min(bytes.len()))
    }
}

/// A seed after a few changes.
pub(super) fn mutated(numbers: &mut Numbers, seeds: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = numbers.pick(seeds).clone();
    for _ in 0..=numbers.below(CHANGES) {
        change(&mut bytes, numbers, seeds, words);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, numbers: &mut Numbers, seeds: &[Vec<u8>], words: &[&[u8]]) {
    let (from, to) = numbers.range(bytes);
    let at = numbers.below(bytes.len());
    match numbers.below(11) {
        0 => {
            if let Some(b) = bytes.get_mut(at) {
                *b ^= 1 << numbers.below(8);
            }
        }
        1 => {
            if let Some(b) = bytes.get_mut(at) {
                *b = *numbers.pick(TURNS);
            }
        }
        2 => {
            if let Some(b) = bytes.get_mut(at) {
                *b = b.wrapping_add(*numbers.pick(&[1, 2, 0xFF, 0xFE]));
            }
        }
        3 => drop(bytes.drain(from..to)),
        4 => bytes.truncate(at),
        5 => {
            let again = bytes[from..to].to_vec();
            bytes.splice(from..from, again);
        }
        6 => {
            let new: Vec<u8> = (0..=numbers.below(6)).map(|_| numbers.byte()).collect();
            bytes.splice(from..from, new);
        }
        7 => drop(bytes.splice(from..from, numbers.pick(words).iter().copied())),
        8 => drop(bytes.splice(from..to, numbers.pick(words).iter().copied())),
        9 => bytes.insert(from, *numbers.pick(TURNS)),
        _ => {
            let other = numbers.pick(seeds);
            let (start, end) = numbers.range(other);
            let end = if numbers.below(2) == 0 { other.len() } else { end };
            bytes.splice(from..to, other[start..end].iter().copied());
        }
    }
}

#[test]
fn the_same_number_makes_the_same_input() {
    let seeds = [b"GET / HTTP/1.1\r\n\r\n".to_vec()];
    let make = |n| mutated(&mut Numbers::new(n), &seeds, &[b"word"]);
    let inputs: std::collections::HashSet<_> = (0..1000).map(make).collect();
    assert!(inputs.len() > 800, "{} of 1000 inputs differ", inputs.len());
    assert!((0..1000).all(|n| make(n) == make(n)));
}
