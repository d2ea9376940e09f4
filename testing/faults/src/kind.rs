//! Kind: a sort of fault, what it does, how it is healed, what it needs of the machine and how soon all must be well again.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::isolation::Isolation;
use crate::kinds;
use crate::stage::Stage;

/// What a kind needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// Network and mount namespaces.
    Namespaces,
    /// A compiler for a library that is loaded into the processes.
    Compiler,
    /// libfaketime.
    FakeTime,
}

/// How soon all must be well again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// No event takes longer than this.
    Slowest(Duration),
    /// All is at full speed so long after it was healed.
    AfterHealing(Duration),
    /// No row is late any more so long after Kafka itself has no append that is late any more.
    BehindKafka(Duration),
    /// It is only measured.
    Measured,
}

/// Undoes a fault, and does not wait for anybody to be well: another fault may still last.
pub(crate) type Heal = Box<dyn FnOnce(&mut Stage) -> Result<()>>;

/// A fault that has begun.
pub(crate) struct Begun {
    /// Whom it hit.
    pub(crate) whom: String,
    pub(crate) heal: Heal,
}

impl Begun {
    pub(crate) fn new(
        whom: impl ToString,
        heal: impl FnOnce(&mut Stage) -> Result<()> + 'static,
    ) -> Result<Self> {
        Ok(Self {
            whom: whom.to_string(),
            heal: Box::new(heal),
        })
    }

    /// A fault of which nothing is left to be undone.
    pub(crate) fn and_over(whom: impl ToString) -> Result<Self> {
        Self::new(whom, |_| Ok(()))
    }
}

/// A sort of fault.
pub(crate) struct Kind {
    /// Family and name.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) does: &'static str,
    /// How it is undone.
    pub(crate) heals: &'static str,
    pub(crate) needs: Need,
    /// So long it lasts.
    pub(crate) hold: Duration,
    pub(crate) wanted: Wanted,
    pub(crate) begin: fn(&mut Stage) -> Result<Begun>,
}

impl Kind {
    /// What stands before the dot.
    pub(crate) fn family(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    /// Whether the two may get in each other's way: one freezes or kills what the other wants to stop or to start.
    pub(crate) fn may_undo(&self, other: &Self) -> bool {
        const OF_PROCESSES: [&str; 5] = ["kill", "away", "freeze", "stop", "disk"];
        let is_of_processes = |kind: &Self| OF_PROCESSES.contains(&kind.family());
        self.family() == other.family() || (is_of_processes(self) && is_of_processes(other))
    }
}

/// Where Debian has it.
pub(crate) const FAKE_TIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A kind, and why it is not tried.
pub(crate) type Skipped = (&'static Kind, String);

/// The kinds that are wanted and possible, and those that are wanted and not possible.
pub(crate) fn choose(
    isolation: &Isolation,
    is_wanted: impl Fn(&str) -> bool,
) -> (Vec<&'static Kind>, Vec<Skipped>) {
    let mut skipped = Vec::new();
    let mut chosen = Vec::new();
    for kind in kinds::all().filter(|kind| is_wanted(kind.name)) {
        match hindrance(kind.needs, isolation) {
            None => chosen.push(kind),
            Some(reason) => skipped.push((kind, reason)),
        }
    }
    (chosen, skipped)
}

fn hindrance(need: Need, isolation: &Isolation) -> Option<String> {
    match need {
        Need::Nothing => None,
        Need::Namespaces => isolation.refused.clone(),
        Need::Compiler => {
            let has = std::process::Command::new("cc").arg("--version").output();
            let has = has.is_ok_and(|output| output.status.success());
            (!has).then(|| "there is no C compiler `cc`".into())
        }
        Need::FakeTime => {
            let has = Path::new(FAKE_TIME).is_file();
            (!has).then(|| format!("there is no {FAKE_TIME} (Debian: apt-get install libfaketime)"))
        }
    }
}
