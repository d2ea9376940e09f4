//! What can go wrong with the files of the event store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that cannot be used. Cheap to clone: all who wait for one read hear of it.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DiskError {
    /// The file system could not.
    #[error("{}: {error}", path.display())]
    Io {
        path: PathBuf,
        error: Arc<io::Error>,
    },
    /// It is not what was written.
    #[error("{} is damaged: {words}", path.display())]
    Damaged { path: PathBuf, words: &'static str },
    /// Another process has it.
    #[error(
        "another process uses {}; each joiner needs its own [joiner].data",
        path.display()
    )]
    InUse { path: PathBuf },
}

impl DiskError {
    pub fn damaged(path: &Path, words: &'static str) -> Self {
        Self::Damaged {
            path: path.into(),
            words,
        }
    }

    /// Whether making the files anew may help.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ),
            Self::InUse { .. } => false,
        }
    }
}

/// Says which file it was.
pub(crate) trait At<T> {
    fn at(self, path: &Path) -> Result<T, DiskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, DiskError> {
        self.map_err(|error| DiskError::Io {
            path: path.into(),
            error: Arc::new(error),
        })
    }
}
