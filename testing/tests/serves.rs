//! Registries that serve a part of the log each: who asks finds them, a part that nobody serves is said aloud, and a part may be taken over later.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_synth::{CLICKS, ClicksParams};
use rtf_testing::{
    Instance, Load, Operator, PipelineOptions, Role, Scene, http, replica_status, wait_until,
};

const PAIRS: u64 = 40_000;
const PAIRS_PER_SECOND: u32 = 1_500;
const SEED: u64 = 9;
const PARTITIONS: u32 = 4;
const SPLIT: u32 = 8;
/// Longer than a part of the log is away.
const WAIT_MAX: &str = "30s";
const READY_WITHIN: Duration = Duration::from_secs(60);
const SAID_WITHIN: Duration = Duration::from_secs(30);
const MOVES_WITHIN: Duration = Duration::from_secs(60);

/// What each serves of what the log began with: 1 and 2 have two.
const SERVES: [&str; 3] = ["0-1", "2-3", "1-2"];
const REGISTRIES: [Instance; 3] = [
    Instance(Role::Registry, 0),
    Instance(Role::Registry, 1),
    Instance(Role::Registry, 2),
];
const LAST: Instance = REGISTRIES[1];
const DISPATCHER: Instance = Instance(Role::Dispatcher, 0);
/// They ask the registries.
const ASKING: [Instance; 3] = [
    Instance(Role::Joiner, 0),
    DISPATCHER,
    Instance(Role::Publisher, 0),
];

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_event_ends_once_though_registries_serve_a_part_each() -> Result<()> {
    let mut stage = Stage::open()?;
    stage.who_serves_all_alone_may_not_serve_a_part()?;
    stage.what_nobody_serves_is_said()?;
    let load = stage.scene.load()?;
    stage.moves()?;
    stage.a_part_with_two_loses_one(&load)?;
    stage.split()?;

    let tally = load.finish()?;
    stage.scene.drained(&tally)?;
    let checked = stage.scene.check()?;
    stage.scene.verified(&checked, &tally)?;
    stage.looked_at()?;
    stage.a_part_is_given_up_and_taken_over()?;
    let checked = stage.scene.replayed(DISPATCHER)?;
    stage.scene.verified(&checked, &tally)
}

struct Stage {
    scene: Scene,
}

impl Stage {
    fn open() -> Result<Self> {
        let options = PipelineOptions {
            is_cluster: true,
            partitions: PARTITIONS,
            registries: REGISTRIES.len().try_into()?,
            wait_max: WAIT_MAX,
            ..PipelineOptions::new(CLICKS)
        };
        let clicks = ClicksParams {
            seed: SEED,
            count: PAIRS,
            per_second: PAIRS_PER_SECOND.try_into()?,
            ..ClicksParams::default()
        };
        let mut scene = Scene::open(&options, clicks)?;
        for (registry, serves) in REGISTRIES.into_iter().zip(SERVES) {
            scene.pipeline.set(registry, "registry.serves", serves);
        }
        Ok(Self { scene })
    }

    fn operator(&self) -> Operator<'_> {
        Operator(&self.scene.pipeline)
    }

    fn who_serves_all_alone_may_not_serve_a_part(&self) -> Result<()> {
        let run = ["--set=registry.serves=0-1"];
        let refused = self.scene.pipeline.rtf("run", &run)?;
        ensure!(refused.code() == 64, "{}", refused.output);
        ensure!(
            refused.output.contains("[registry].serves"),
            "{}",
            refused.output
        );
        Ok(())
    }

    /// Ready is nobody before every partition is served.
    fn what_nobody_serves_is_said(&mut self) -> Result<()> {
        let pipeline = &mut self.scene.pipeline;
        let but_last = REGISTRIES.into_iter().filter(|registry| *registry != LAST);
        pipeline.start_all(&but_last.collect::<Vec<_>>(), READY_WITHIN)?;
        for asking in ASKING {
            pipeline.start(asking)?;
        }
        self.red("no registry is known to serve partition 3")?;
        let pipeline = &mut self.scene.pipeline;
        pipeline.start_ready(LAST, READY_WITHIN)?;
        for asking in ASKING {
            pipeline.wait_ready(asking, READY_WITHIN)?;
        }
        Ok(())
    }

    /// All who ask say why they are not ready.
    fn red(&self, words: &str) -> Result<()> {
        for asking in ASKING {
            let url = format!("{}/readyz", self.scene.pipeline.health(asking));
            let mut last = String::new();
            let said = wait_until("it says what is not served", SAID_WITHIN, || {
                let ready = http::get(&url).ok()?;
                last = format!("{}: {}", ready.status(), ready.body());
                (ready.status() == 503 && ready.body().contains(words)).then_some(())
            });
            said.with_context(|| format!("{asking}: {last}"))?;
        }
        Ok(())
    }

    fn moves(&mut self) -> Result<()> {
        let progress = &mut self.scene.progress;
        let before = progress.rows()?;
        wait_until("more rows", MOVES_WITHIN, || {
            let rows = progress.rows();
            rows.map(|rows| (rows > before).then_some(())).transpose()
        })?
    }

    /// What the other one serves too goes on; the rest waits for it.
    fn a_part_with_two_loses_one(&mut self, load: &Load) -> Result<()> {
        self.scene.pipeline.kill9(LAST)?;
        self.moves()?;
        ensure!(!load.is_finished(), "the load is over: nothing is shown");
        self.scene.pipeline.start_ready(LAST, READY_WITHIN)?;
        self.moves()
    }

    /// One of each part does it for all; the others learn of it from the log.
    fn split(&mut self) -> Result<()> {
        let partitions = SPLIT.to_string();
        self.operator()
            .does(&["split", "--partitions", &partitions])?;
        let served: [&[u32]; 3] = [&[0, 1, 4, 5], &[2, 3, 6, 7], &[1, 2, 5, 6]];
        for (replica, served) in (0..).zip(served) {
            let mut last = String::new();
            let done = wait_until("the new parts", SAID_WITHIN, || {
                let status = replica_status(&self.scene.pipeline, replica);
                last = format!("{status:?}");
                let parts = status.ok()?.served;
                let all = parts
                    .iter()
                    .map(|part| part.partition)
                    .eq(served.iter().copied());
                (all && parts.iter().all(|part| part.count == SPLIT)).then_some(())
            });
            done.with_context(|| format!("replica {replica}: {last}"))?;
        }
        self.moves()
    }

    fn looked_at(&self) -> Result<()> {
        let operator = self.operator();
        let status = operator.run(&["status"])?;
        ensure!(status.code() == 0, "{}", status.output);
        let words = "serves 0-1,4-5 of the log's 8 partitions, which began with 4";
        ensure!(status.output.contains(words), "{}", status.output);
        let digest = operator.does(&["digest"])?;
        let partitions = digest["partitions"].as_array().context("partitions")?;
        let replicas = |at: usize| partitions[at]["digests"].as_object().map(|d| d.len());
        let of: Vec<_> = (0..partitions.len()).map(replicas).collect();
        let wanted = [1, 2, 2, 1, 1, 2, 2, 1].map(Some);
        ensure!(digest["agree"] == true && of == wanted, "{digest}");
        Ok(())
    }

    /// Given up by configuration, it is missed; taken over by one that never served it, nothing is.
    fn a_part_is_given_up_and_taken_over(&mut self) -> Result<()> {
        self.scene.pipeline.stop(LAST)?;
        self.scene.pipeline.set(LAST, "registry.serves", "2");
        self.scene.pipeline.start_ready(LAST, READY_WITHIN)?;
        self.red("no registry serves partition 3")?;
        let operator = self.operator();
        let lookup = |id: u32| operator.run(&["lookup", &format!("nobody-{id}")]);
        let said = (0..64).find_map(|id| {
            let looked = lookup(id).ok()?;
            looked
                .output
                .contains("no registry serves partition")
                .then_some(looked)
        });
        ensure!(
            said.context("an id of partition 3")?.code() == 1,
            "it is an error"
        );

        let first = REGISTRIES[0];
        self.scene.pipeline.stop(first)?;
        self.scene.pipeline.set(first, "registry.serves", "0-1,3");
        self.scene.pipeline.start_ready(first, READY_WITHIN)?;
        for asking in ASKING {
            self.scene.pipeline.wait_ready(asking, READY_WITHIN)?;
        }
        let digest = self.operator().does(&["digest"])?;
        ensure!(digest["agree"] == true, "{digest}");
        // What was given up and started again is still as it was; only what was not followed before is read anew.
        let data = self.scene.pipeline.registry_data(1);
        let anew = data.join("view.broken-0").exists();
        ensure!(!anew, "a restart threw a view away: {}", data.display());
        Ok(())
    }
}
