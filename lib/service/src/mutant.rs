//! Deliberate bugs, to test the tests: `testing/simulation` shows for each by which test it is caught (docs/simulation.md).
//!
//! Only in builds with the feature `mutants`; everywhere else there are none. Which one a process has, its environment variable `RTF_MUTANT` says.

/// Whether this process has this bug.
#[inline]
pub fn is(_name: &'static str) -> bool {
    #[cfg(feature = "mutants")]
    {
        use std::sync::OnceLock;
        static NAME: OnceLock<Option<String>> = OnceLock::new();
        let name = NAME.get_or_init(|| std::env::var("RTF_MUTANT").ok());
        name.as_deref() == Some(_name)
    }
    #[cfg(not(feature = "mutants"))]
    false
}
