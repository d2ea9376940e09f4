//! Where the `rtf` binary under test lies.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The environment variable that names another binary to test.
const BINARY_VARIABLE: &str = "RTF_BIN";

/// The `rtf` binary: `RTF_BIN` if it is set, else the one built beside the running program, in the same profile.
pub fn rtf_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!(
                "{BINARY_VARIABLE} names {}, which is no file",
                path.display()
            );
        }
        return Ok(path);
    }
    let here = env::current_exe().context("the running program has no path")?;
    beside(&here).with_context(|| {
        format!(
            "no rtf binary near {}: build it with `cargo build -p rtf` in the same profile",
            here.display()
        )
    })
}

/// A test lies in `target/<profile>/deps/`, a program in `target/<profile>/`.
fn beside(program: &Path) -> Option<PathBuf> {
    let name = format!("rtf{}", env::consts::EXE_SUFFIX);
    program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::temp_folder;

    #[test]
    fn found_from_a_test_and_from_a_program_of_the_same_profile() {
        let folder = temp_folder("binary").unwrap();
        let rtf = folder.path().join("rtf");
        assert_eq!(beside(&folder.path().join("deps/e2e-0123")), None);
        std::fs::write(&rtf, "").unwrap();
        assert_eq!(
            beside(&folder.path().join("deps/e2e-0123")),
            Some(rtf.clone())
        );
        assert_eq!(beside(&folder.path().join("rtf-bench")), Some(rtf));
        assert_eq!(beside(&folder.path().join("a/b/c")), None);
    }
}
