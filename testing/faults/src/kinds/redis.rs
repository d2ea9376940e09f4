//! Redis: killed, emptied, full, read-only, frozen, and failed over with what was acknowledged lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_testing::pause;

use crate::kind::{Begun, Kind, Need, Wanted};
use crate::rows::DOWN_AFTER;
use crate::stage::Stage;

const SOON: Wanted = Wanted::AfterHealing(Duration::from_secs(2));
/// Longer than the first few tries of whoever writes.
const AWAY: Duration = Duration::from_millis(2_500);
/// So long the replica hears nothing of what the primary acknowledges.
const UNHEARD: Duration = Duration::from_millis(1_500);
const PROMOTED_WITHIN: Duration = Duration::from_secs(60);

const fn kind(name: &'static str, does: &'static str, heals: &'static str) -> Kind {
    Kind {
        name,
        does,
        heals,
        needs: Need::Nothing,
        hold: AWAY,
        wanted: SOON,
        begin: kill,
    }
}

pub(crate) const KINDS: &[Kind] = &[
    kind(
        "redis.kill",
        "kill -9 of the primary, which has its rows on disk",
        "started again after 2.5 s",
    ),
    Kind {
        begin: forget,
        wanted: Wanted::Measured,
        ..kind(
            "redis.forget",
            "kill -9 of both servers, whose disks are wiped",
            "started again, empty",
        )
    },
    Kind {
        begin: flush,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        ..kind(
            "redis.flush",
            "FLUSHALL",
            "needs no healing: it is refilled",
        )
    },
    Kind {
        begin: full,
        ..kind(
            "redis.full",
            "maxmemory below what it holds, without eviction: writes are refused",
            "maxmemory taken away after 2.5 s",
        )
    },
    Kind {
        begin: read_only,
        ..kind(
            "redis.readonly",
            "the address leads to the replica, which takes no writes",
            "it leads to the primary again after 2.5 s",
        )
    },
    Kind {
        begin: no_replicas,
        ..kind(
            "redis.noreplicas",
            "min-replicas-to-write above what there is: writes are refused",
            "taken back after 2.5 s",
        )
    },
    Kind {
        begin: freeze,
        ..kind(
            "redis.freeze",
            "SIGSTOP of the primary",
            "SIGCONT after 2.5 s",
        )
    },
    Kind {
        begin: fail_over,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        ..kind(
            "redis.failover",
            "the replica hears nothing for 1.5 s, then kill -9 of the primary: acknowledged rows are lost",
            "the Sentinel promotes the replica; the old primary comes back as a replica",
        )
    },
];

fn kill(stage: &mut Stage) -> Result<Begun> {
    stage.rows.primary().kill9()?;
    Begun::new("primary", |stage| {
        stage.rows.restart_primary()?;
        stage.is_healed();
        Ok(())
    })
}

fn forget(stage: &mut Stage) -> Result<Begun> {
    // The replica first, or the primary would be filled from it.
    stage.rows.replica().kill9()?;
    stage.rows.replica().wipe()?;
    stage.rows.primary().kill9()?;
    stage.rows.primary().wipe()?;
    Begun::new("both", |stage| {
        stage.rows.restart_primary()?;
        stage.is_healed();
        stage.rows.replica().restart()
    })
}

fn flush(stage: &mut Stage) -> Result<Begun> {
    stage.rows.primary().flushall()?;
    Begun::and_over("primary")
}

fn full(stage: &mut Stage) -> Result<Begun> {
    refuse_writes(stage, "maxmemory", "1mb")
}

fn read_only(stage: &mut Stage) -> Result<Begun> {
    stage.rows.is_held = true;
    stage.rows.lead_to_replica()?;
    Begun::new("both sites", |stage| {
        stage.rows.is_held = false;
        stage.rows.lead_to_primary()
    })
}

fn no_replicas(stage: &mut Stage) -> Result<Begun> {
    refuse_writes(stage, "min-replicas-to-write", "5")
}

/// By a setting that is 0 by default. It is taken back from whom it was given, whoever is the primary then.
fn refuse_writes(stage: &mut Stage, key: &'static str, value: &str) -> Result<Begun> {
    let node = stage.rows.primary;
    stage.rows.configure(node, key, value)?;
    Begun::new("primary", move |stage| stage.rows.configure(node, key, "0"))
}

fn freeze(stage: &mut Stage) -> Result<Begun> {
    stage.rows.primary().process().sigstop()?;
    Begun::new("primary", |stage| stage.rows.primary().process().sigcont())
}

fn fail_over(stage: &mut Stage) -> Result<Begun> {
    let old = stage.rows.primary().port();
    stage.rows.replica().process().sigstop()?;
    pause(UNHEARD);
    // What the replica would still find in its socket is of before the kill: of the last 1.5 s, little.
    stage.rows.primary().kill9()?;
    stage.rows.replica().process().sigcont()?;
    Begun::new("primary", move |stage| {
        let promoted =
            stage.tend_until(PROMOTED_WITHIN, |stage| stage.rows.primary().port() != old)?;
        ensure!(promoted, "no other primary within {PROMOTED_WITHIN:?}");
        stage.is_healed();
        // The Sentinel would take it for the primary again if it came back sooner.
        pause(DOWN_AFTER.saturating_sub(UNHEARD));
        stage.rows.replica().restart()
    })
}
