//! The hash that segments are ordered by. It lies on disk, so it is fixed; and it is keyed, so that nobody can choose keys that meet.

use siphasher::sip::SipHasher13;

/// The secret of one store's hashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seed(pub [u8; 16]);

impl Seed {
    /// Another for each store that is made.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// A key's or an id's hash. Two may share one: whole texts are compared in the end.
    pub fn hash(&self, text: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(text)
    }
}
