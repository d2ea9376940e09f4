//! Process: `rtf` killed, frozen and stopped.

use std::time::Duration;

use anyhow::Result;
use rtf_testing::{Instance, Role};

use crate::kind::{Begun, Kind, Need, Wanted};
use crate::stage::{EVERYBODY, Stage};

/// Longer than the session of a dispatcher (6 s), the keep-alive of gRPC and the time a registry waits for its record.
const FROZEN: Duration = Duration::from_secs(9);
/// Longer than the session too.
const AWAY: Duration = Duration::from_secs(10);
/// Killed and started again by whoever looks after it.
const IN_PLACE: Wanted = Wanted::Slowest(Duration::from_secs(2));
/// The session and two seconds.
const TAKEN_OVER: Wanted = Wanted::Slowest(Duration::from_secs(8));

const fn killed(name: &'static str, begin: fn(&mut Stage) -> Result<Begun>) -> Kind {
    Kind {
        name,
        does: "kill -9 of one of the two",
        heals: "started again at once",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: IN_PLACE,
        begin,
    }
}

const fn away(name: &'static str, begin: fn(&mut Stage) -> Result<Begun>) -> Kind {
    Kind {
        name,
        does: "kill -9 of one of the two, which stays away",
        heals: "started again after 10 s; the other one has taken over",
        needs: Need::Nothing,
        hold: AWAY,
        wanted: TAKEN_OVER,
        begin,
    }
}

const fn frozen(name: &'static str, begin: fn(&mut Stage) -> Result<Begun>) -> Kind {
    Kind {
        name,
        does: "SIGSTOP of one of the two, for longer than its session",
        heals: "SIGCONT after 9 s",
        needs: Need::Nothing,
        hold: FROZEN,
        wanted: Wanted::Slowest(Duration::from_secs(12)),
        begin,
    }
}

pub(crate) const KINDS: &[Kind] = &[
    killed("kill.registry", |stage| kill(stage, Role::Registry)),
    killed("kill.joiner", |stage| kill(stage, Role::Joiner)),
    killed("kill.dispatcher", |stage| kill(stage, Role::Dispatcher)),
    killed("kill.publisher", |stage| kill(stage, Role::Publisher)),
    killed("kill.web", |stage| kill(stage, Role::Web)),
    away("away.registry", |stage| leave(stage, Role::Registry)),
    away("away.joiner", |stage| leave(stage, Role::Joiner)),
    away("away.dispatcher", |stage| leave(stage, Role::Dispatcher)),
    away("away.publisher", |stage| leave(stage, Role::Publisher)),
    frozen("freeze.registry", |stage| freeze(stage, Role::Registry)),
    frozen("freeze.joiner", |stage| freeze(stage, Role::Joiner)),
    frozen("freeze.dispatcher", |stage| freeze(stage, Role::Dispatcher)),
    frozen("freeze.publisher", |stage| freeze(stage, Role::Publisher)),
    Kind {
        name: "stop.site",
        does: "SIGTERM of one of each role",
        heals: "started again at once",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        begin: stop_site,
    },
    Kind {
        name: "kill.everybody",
        does: "kill -9 of all processes at once",
        heals: "started again at once",
        needs: Need::Nothing,
        hold: Duration::ZERO,
        wanted: Wanted::Measured,
        begin: kill_everybody,
    },
];

fn one_of(stage: &mut Stage, role: Role) -> Instance {
    Instance(role, stage.pick(&[0, 1]))
}

fn kill(stage: &mut Stage, role: Role) -> Result<Begun> {
    let instance = one_of(stage, role);
    stage.pipeline.kill9(instance)?;
    stage.pipeline.start(instance)?;
    Begun::and_over(instance)
}

fn leave(stage: &mut Stage, role: Role) -> Result<Begun> {
    let instance = one_of(stage, role);
    stage.away.insert(instance);
    stage.pipeline.kill9(instance)?;
    Begun::new(instance, move |stage| {
        stage.away.remove(&instance);
        stage.pipeline.start(instance)
    })
}

fn freeze(stage: &mut Stage, role: Role) -> Result<Begun> {
    let instance = one_of(stage, role);
    stage.pipeline.process(instance)?.sigstop()?;
    Begun::new(instance, move |stage| {
        stage.pipeline.process(instance)?.sigcont()
    })
}

fn stop_site(stage: &mut Stage) -> Result<Begun> {
    let site = stage.pick(&[0, 1]);
    for instance in EVERYBODY.into_iter().filter(|i| i.1 == site) {
        stage.stop(instance)?;
        stage.pipeline.start(instance)?;
    }
    let name = if site == 0 { "east" } else { "west" };
    Begun::and_over(name)
}

fn kill_everybody(stage: &mut Stage) -> Result<Begun> {
    for instance in EVERYBODY {
        stage.pipeline.kill9(instance)?;
    }
    for instance in EVERYBODY {
        stage.pipeline.start(instance)?;
    }
    Begun::and_over("everybody")
}
