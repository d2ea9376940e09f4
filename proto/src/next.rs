//! Which versions of the log's records are written and known: by this release one, and by those to come more, as far as tests of an upgrade need them.
//!
//! Only in builds with the feature `next-version`, which the tests switch on, there are releases to come. `RTF_RECORD_VERSIONS` says what a process writes and
//! the last that it knows: `1/1` this release, `1/2` the next, `2/2` the one after. Without it a process writes 1 and knows 2, so that a test can read all.

/// Of this release.
pub(crate) const VERSION: u8 = 1;

/// What is written, and the last that is known.
pub(crate) fn versions() -> (u8, u8) {
    #[cfg(feature = "next-version")]
    {
        use std::sync::OnceLock;
        static VERSIONS: OnceLock<(u8, u8)> = OnceLock::new();
        *VERSIONS.get_or_init(|| {
            let said = std::env::var("RTF_RECORD_VERSIONS").ok();
            let said = said.as_deref().and_then(|said| said.split_once('/'));
            let parsed =
                said.and_then(|(writes, knows)| Some((writes.parse().ok()?, knows.parse().ok()?)));
            parsed.unwrap_or((VERSION, VERSION + 1))
        })
    }
    #[cfg(not(feature = "next-version"))]
    (VERSION, VERSION)
}
