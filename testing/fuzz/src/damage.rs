//! Damage to inputs: bits flipped, pieces cut, doubled, moved, taken from another input, replaced by what parsers trip over.

use rand::Rng;
use rand::seq::IndexedRandom;

/// Edits to one input, at the most.
const MOST_EDITS: usize = 6;
/// Bytes of a piece, at the most.
const MOST_PIECE: usize = 24;
/// What parsers trip over.
const TOKENS: [&[u8]; 28] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"-0",
    b"1e999",
    b"-",
    b"+1",
    b"18446744073709551616",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"~1",
    b"/",
    b"=",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\x01\x00\x00\x00",
    b"\x00\x00\x00\x80",
];

/// Makes damaged inputs out of whole ones.
pub struct Damage<'a> {
    inputs: &'a [Vec<u8>],
    max_bytes: usize,
}

impl<'a> Damage<'a> {
    /// Of these, at least one.
    pub fn of(inputs: &'a [Vec<u8>], max_bytes: usize) -> Self {
        Self { inputs, max_bytes }
    }

    /// One of them with some edits.
    pub fn damaged(&self, random: &mut impl Rng) -> Vec<u8> {
        let mut input = self.one(random).to_vec();
        for _ in 0..random.random_range(1..=MOST_EDITS) {
            self.edit(&mut input, random);
        }
        input.truncate(self.max_bytes);
        input
    }

    fn one(&self, random: &mut impl Rng) -> &'a [u8] {
        self.inputs.choose(random).expect("there is one")
    }

    fn edit(&self, input: &mut Vec<u8>, random: &mut impl Rng) {
        let (from, to) = piece(input.len(), random);
        let at = random.random_range(0..=input.len());
        match random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = random.random(),
            2 => drop(input.drain(from..to)),
            3 => {
                let copy = input[from..to].to_vec();
                input.splice(at..at, copy);
            }
            4 => {
                let other = self.one(random);
                let (from, to) = piece(other.len(), random);
                input.splice(at..at, other[from..to].iter().copied());
            }
            5 => {
                let token = TOKENS.choose(random).expect("there are some");
                input.splice(at..at, token.iter().copied());
            }
            6 => {
                let token = TOKENS.choose(random).expect("there are some");
                input.splice(from..to, token.iter().copied());
            }
            _ => input.truncate(at),
        }
    }
}

/// Somewhere among so many bytes.
fn piece(bytes: usize, random: &mut impl Rng) -> (usize, usize) {
    let from = random.random_range(0..=bytes);
    let to = random.random_range(from..=bytes.min(from + MOST_PIECE));
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn the_same_seed_does_the_same_damage_and_none_is_too_long() {
        let inputs = [b"some input".to_vec(), vec![0; 60], Vec::new()];
        let damage = Damage::of(&inputs, 64);
        let all = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            (0..500)
                .map(|_| damage.damaged(&mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        assert!(all(1).iter().all(|input| input.len() <= 64));
    }
}
