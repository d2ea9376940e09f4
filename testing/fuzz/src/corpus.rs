//! Inputs that are kept, a folder for each target.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The kept inputs of a target.
pub struct Corpus(PathBuf);

impl Corpus {
    /// Those under this name; there may be none.
    pub fn open(target: &str) -> Self {
        Self(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("corpus")
                .join(target),
        )
    }

    /// All of them, by name.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        let read =
            |path: PathBuf| fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        paths.into_iter().map(read).collect()
    }

    /// Keeps one more.
    pub fn keep(&self, input: &[u8]) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = self.0.join(format!("found-{:016x}", hasher.finish()));
        // Where it cannot be kept it was printed all the same.
        let _ = fs::create_dir_all(&self.0).and_then(|()| fs::write(&path, input));
        path
    }
}
