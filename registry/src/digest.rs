//! A sum over all winners of a partition, so that replicas can tell whether they agree. Pure.

use crate::apply::Winner;
use crate::fnv::fnv1a;
use rtf_proto::Offset;
use std::collections::VecDeque;

/// Digests are compared at multiples of this offset.
const EVERY: Offset = 1024;
/// So many of them are kept: a checkpoint that is older tells nothing any more.
const KEPT: usize = 4096;

/// The running digest. Order does not matter to it, offsets do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    sum: u64,
    /// One past the last record reached: the sum holds the winners below it.
    next: Offset,
    /// Offset, and the sum over the winners below it; oldest first.
    marks: VecDeque<(Offset, u64)>,
}

impl Digest {
    /// Goes on from the sum of the winners below `next`.
    pub fn resume(next: Offset, sum: u64) -> Self {
        Self {
            sum,
            next,
            marks: VecDeque::new(),
        }
    }

    /// The sum over all winners so far.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The record at this offset is next.
    pub fn reach(&mut self, offset: Offset) {
        let mark = offset - offset % EVERY;
        let is_passed_now = mark >= self.next;
        self.next = offset + 1;
        if !is_passed_now {
            return;
        }
        self.marks.push_back((mark, self.sum));
        if self.marks.len() > KEPT {
            self.marks.pop_front();
        }
    }

    /// A winner.
    pub fn add(&mut self, id: &[u8], winner: &Winner) {
        self.sum = self.sum.wrapping_add(hash(id, winner));
    }

    /// The newest mark: an offset, and the digest of the winners below it.
    pub fn latest(&self) -> (Offset, u64) {
        self.marks.back().copied().unwrap_or_default()
    }

    /// One past the last record reached, and the sum of now. While a record is being applied the sum may lack its winner.
    pub fn now(&self) -> (Offset, u64) {
        (self.next, self.sum)
    }

    /// The newest marks, oldest first.
    pub fn newest(&self, count: usize) -> impl Iterator<Item = (Offset, u64)> {
        let skipped = self.marks.len().saturating_sub(count);
        self.marks.iter().skip(skipped).copied()
    }

    /// What this replica had at that offset; `None` when it does not know.
    pub fn at(&self, offset: Offset) -> Option<u64> {
        let at = self.marks.binary_search_by_key(&offset, |(at, _)| *at);
        at.ok().map(|at| self.marks[at].1)
    }

    /// Takes over another replica's sum as it was at that offset; what was added since stays.
    pub fn rebase(&mut self, offset: Offset, theirs: u64) {
        let Some(ours) = self.at(offset) else { return };
        let shift = theirs.wrapping_sub(ours);
        self.sum = self.sum.wrapping_add(shift);
        for (_, sum) in &mut self.marks {
            *sum = sum.wrapping_add(shift);
        }
    }
}

/// FNV-1a over id, offset and outcome, finished so that single bits spread: fixed for ever, as replicas of different builds compare it.
fn hash(id: &[u8], winner: &Winner) -> u64 {
    let offset = winner.offset.to_le_bytes();
    let outcome = winner.outcome.code().to_le_bytes();
    let sum = fnv1a(id.iter().chain(&offset).chain(&outcome));
    (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::{Outcome, Token};

    fn winner(offset: Offset) -> Winner {
        Winner {
            offset,
            token: Some(Token(1)),
            outcome: Outcome::Joined,
        }
    }

    fn run(digest: &mut Digest, offsets: impl IntoIterator<Item = Offset>) {
        for offset in offsets {
            digest.reach(offset);
            digest.add(&offset.to_le_bytes(), &winner(offset));
        }
    }

    #[test]
    fn equal_logs_have_equal_digests_at_equal_offsets() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        run(&mut one, 0..3000);
        run(&mut other, 0..5000);
        assert_eq!(one.latest().0, 2048);
        assert_eq!(other.at(2048), Some(one.latest().1));
        assert_eq!(other.at(2049), None);
        other.add(b"x", &winner(7));
        assert_eq!(
            other.newest(2).map(|(at, _)| at).collect::<Vec<_>>(),
            [3072, 4096]
        );
        assert_ne!(one.sum(), other.sum());
        let mut resumed = Digest::resume(3000, one.sum());
        run(&mut resumed, 3000..5000);
        assert_eq!(
            (resumed.at(2048), resumed.at(0)),
            (None, None),
            "it was not there"
        );
        assert!(resumed.at(4096).is_some());
        let differ = |a: &[u8], b: &Winner| hash(a, b) != hash(b"id", &winner(1));
        assert!(differ(b"it", &winner(1)) && differ(b"id", &winner(2)));
    }

    #[test]
    fn who_lacks_the_beginning_takes_over_the_sum() {
        let (mut whole, mut part) = (Digest::default(), Digest::default());
        run(&mut whole, 0..6000);
        run(&mut part, 1500..6000);
        let (at, sum) = whole.latest();
        assert_ne!(part.at(at), Some(sum));
        part.rebase(at, sum);
        assert_eq!((part.at(at), part.sum()), (Some(sum), whole.sum()));
    }
}
