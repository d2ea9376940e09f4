//! An operator: somebody who types `rtf registry ...`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Finished, Pipeline, Role};

/// `rtf registry ...` with the pipeline's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Operator<'a>(pub &'a Pipeline);

impl Operator<'_> {
    /// It may end as it likes.
    pub fn run(&self, arguments: &[&str]) -> Result<Finished> {
        self.0.rtf("registry", arguments)
    }

    /// It must do what it is asked.
    pub fn does(&self, arguments: &[&str]) -> Result<Value> {
        let finished = self.run(&[arguments, &["--json"]].concat())?;
        finished.done().with_context(|| format!("{arguments:?}"))
    }

    /// It must refuse, and say so.
    pub fn refuses(&self, arguments: &[&str], words: &str) -> Result<()> {
        let finished = self.run(arguments)?;
        let output = &finished.output;
        ensure!(finished.code() == 1, "{arguments:?} did: {output}");
        ensure!(output.contains(words), "no `{words}` in: {output}");
        Ok(())
    }

    /// The address of a replica, as `--endpoint` wants it.
    pub fn endpoint(&self, replica: u16) -> String {
        format!("http://127.0.0.1:{}", self.0.port(Role::Registry, replica))
    }
}
