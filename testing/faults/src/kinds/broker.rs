//! Broker: one of three killed, frozen, stopped, wiped.

use std::time::Duration;

use anyhow::Result;

use crate::kind::{Begun, Kind, Need, Wanted};
use crate::network::BROKERS;
use crate::stage::Stage;

/// Longer than the broker's session with its controller (3 s).
const AWAY: Duration = Duration::from_secs(6);
const IN_SYNC_WITHIN: Duration = Duration::from_secs(240);

const fn kind(name: &'static str, does: &'static str, heals: &'static str) -> Kind {
    Kind {
        name,
        does,
        heals,
        needs: Need::Nothing,
        hold: AWAY,
        wanted: Wanted::BehindKafka(Duration::from_secs(2)),
        begin: kill,
    }
}

pub(crate) const KINDS: &[Kind] = &[
    kind(
        "broker.kill",
        "kill -9 of one broker of three",
        "started again after 6 s",
    ),
    Kind {
        begin: freeze,
        ..kind(
            "broker.freeze",
            "SIGSTOP of one broker of three",
            "SIGCONT after 6 s",
        )
    },
    Kind {
        begin: stop,
        hold: Duration::ZERO,
        ..kind(
            "broker.stop",
            "one broker of three stopped in order",
            "started again at once",
        )
    },
    Kind {
        begin: wipe,
        ..kind(
            "broker.wipe",
            "kill -9 of one broker of three, and its disk is wiped",
            "started again after 6 s, empty; it copies all from the others",
        )
    },
];

fn one(stage: &mut Stage) -> usize {
    let nodes: Vec<usize> = (0..BROKERS).collect();
    stage.pick(&nodes)
}

fn back(stage: &mut Stage, node: usize) -> Result<()> {
    stage.kafka.restart(node)?;
    stage.is_healed();
    stage.kafka.wait_in_sync(IN_SYNC_WITHIN).map(drop)
}

fn kill(stage: &mut Stage) -> Result<Begun> {
    let node = one(stage);
    stage.kafka.kill(node)?;
    Begun::new(format!("broker {node}"), move |stage| back(stage, node))
}

fn freeze(stage: &mut Stage) -> Result<Begun> {
    let node = one(stage);
    stage.kafka.pause(node)?;
    Begun::new(format!("broker {node}"), move |stage| {
        stage.kafka.resume(node)?;
        stage.kafka.wait_in_sync(IN_SYNC_WITHIN).map(drop)
    })
}

fn stop(stage: &mut Stage) -> Result<Begun> {
    let node = one(stage);
    stage.kafka.stop(node)?;
    Begun::new(format!("broker {node}"), move |stage| back(stage, node))
}

fn wipe(stage: &mut Stage) -> Result<Begun> {
    let node = one(stage);
    stage.kafka.kill(node)?;
    stage.kafka.wipe(node)?;
    Begun::new(format!("broker {node}"), move |stage| back(stage, node))
}
