//! Stage: everything that runs, and who looks after it. What is done to it is for the kinds to say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rtf_kafka::Sender;
use rtf_synth::CLICKS;
use rtf_testing::{
    Checker, ClusterOptions, Fate, Instance, KafkaCluster, Pipeline, PipelineOptions, Progress,
    Role, create_topics, http, pause,
};

use crate::isolation::{Isolation, command};
use crate::kind::{FAKE_TIME, Kind, Need};
use crate::meter::Meter;
use crate::network::{Group, Network};
use crate::rows::{Asker, Rows};
use crate::run::Plan;
use crate::soak;

/// Of the join log.
pub(crate) const PARTITIONS: u32 = 4;
const TOPIC_PARTITIONS: u32 = 4;
/// So soon one pipeline does what the other does not.
const CLAIM: &str = "300ms";
/// Longer than any fault keeps a query from its click, or an event would be given up for good reason.
const WAIT_MAX: &str = "75s";
/// What Kafka and the configuration have by default.
pub(crate) const SESSION: &str = "6s";
const READY_WITHIN: Duration = Duration::from_secs(120);
/// What ended by itself is started again after this, as by systemd.
const RESTART_AFTER: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the small disk holds.
const SMALL_DISK: &str = "size=768m";

/// Who runs: each role twice.
pub(crate) const EVERYBODY: [Instance; 10] = [
    Instance(Role::Registry, 0),
    Instance(Role::Registry, 1),
    Instance(Role::Joiner, 0),
    Instance(Role::Joiner, 1),
    Instance(Role::Dispatcher, 0),
    Instance(Role::Dispatcher, 1),
    Instance(Role::Publisher, 0),
    Instance(Role::Publisher, 1),
    Instance(Role::Web, 0),
    Instance(Role::Web, 1),
];
/// Whose disk is small and can break.
pub(crate) const WITH_BAD_DISK: [Instance; 2] =
    [Instance(Role::Registry, 1), Instance(Role::Joiner, 1)];
/// Whose clock can jump.
pub(crate) const WITH_BAD_CLOCK: [Instance; 4] = [
    Instance(Role::Registry, 0),
    Instance(Role::Joiner, 0),
    Instance(Role::Dispatcher, 1),
    Instance(Role::Publisher, 1),
];

/// A process that ended without being killed by us.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Exit {
    pub(crate) who: String,
    pub(crate) status: String,
    /// What it said last.
    pub(crate) words: String,
    /// What was done at the time.
    pub(crate) during: String,
}

pub(crate) struct Stage {
    pub(crate) pipeline: Pipeline,
    pub(crate) kafka: KafkaCluster,
    pub(crate) rows: Rows,
    pub(crate) network: Network,
    pub(crate) meter: Meter,
    pub(crate) checker: Checker,
    pub(crate) progress: Progress,
    pub(crate) rng: ChaCha8Rng,
    /// For what does not come from the load.
    pub(crate) sender: Sender,
    /// What must come of it.
    pub(crate) expected: Vec<Fate>,
    /// Who is not to be started again for the time being.
    pub(crate) away: BTreeSet<Instance>,
    pub(crate) exits: Vec<Exit>,
    /// When what was hit works again, if that is later than the beginning of its healing.
    pub(crate) healed: Option<Duration>,
    /// What is done just now.
    pub(crate) during: String,
    ended: BTreeMap<Instance, Instant>,
    begun: Instant,
}

impl Stage {
    /// Starts everything and waits until it is ready.
    pub(crate) fn open(plan: &Plan, isolation: &Isolation) -> Result<Self> {
        let begun = Instant::now();
        let network = Network::new(isolation)?;
        let rows = Rows::start(&network)?;
        let kafka = KafkaCluster::start_with(&ClusterOptions {
            hosts: Group::BROKERS.map(|broker| network.host(broker)),
            properties: match plan.is_soak {
                true => soak::RETENTION
                    .map(|(name, value)| (name.into(), value.into()))
                    .into(),
                false => Vec::new(),
            },
        })?;
        create_topics(&kafka.bootstrap(), &CLICKS, TOPIC_PARTITIONS)?;
        let reader = rows.url(Asker::Reader);
        let checker = Checker::new(&kafka.bootstrap(), &reader, CLICKS);
        let pipeline = Pipeline::new(
            &options(&network),
            &kafka.bootstrap(),
            &rows.url(Asker::East),
        )?;
        let mut stage = Self {
            progress: Progress::new(&checker, &reader)?,
            meter: Meter::start(&CLICKS, PARTITIONS, &reader)?,
            sender: Sender::open(checker.settings())?,
            rng: ChaCha8Rng::seed_from_u64(plan.seed),
            pipeline,
            kafka,
            rows,
            network,
            checker,
            expected: Vec::new(),
            away: BTreeSet::new(),
            exits: Vec::new(),
            healed: None,
            during: "the start".into(),
            ended: BTreeMap::new(),
            begun,
        };
        stage.configure(plan)?;
        stage.start_roles()?;
        stage.say("everybody is ready");
        Ok(stage)
    }

    fn configure(&mut self, plan: &Plan) -> Result<()> {
        let west = self.rows.url(Asker::West);
        for role in Role::EACH {
            self.pipeline.set(Instance(role, 1), "redis.url", &west);
        }
        for number in 0..2 {
            let dispatcher = Instance(Role::Dispatcher, number);
            let name = format!("d{number}");
            self.pipeline
                .set(dispatcher, "dispatcher.instance_id", &name);
            if plan.two_pipelines {
                let site = format!("{}/2", number + 1);
                self.pipeline.set(dispatcher, "dispatcher.site", &site);
                self.pipeline.set(dispatcher, "dispatcher.claim", CLAIM);
            }
        }
        if plan.two_pipelines {
            let second = Instance(Role::Dispatcher, 1);
            let group = "clicks.dispatcher.west";
            self.pipeline.set(second, "dispatcher.group", group);
        }
        if plan.is_soak {
            for instance in EVERYBODY {
                for (key, value) in soak::SETTINGS {
                    self.pipeline.set(instance, key, value);
                }
            }
        }
        let needs = |need| plan.kinds.iter().any(|kind: &&Kind| kind.needs == need);
        if plan
            .kinds
            .iter()
            .any(|kind| kind.name.starts_with("disk.full"))
        {
            self.mount_small_disk()?;
        }
        if needs(Need::Compiler) {
            crate::kinds::disk::preload(&mut self.pipeline)?;
        }
        if needs(Need::FakeTime) {
            crate::kinds::clock::preload(&mut self.pipeline, FAKE_TIME)?;
        }
        Ok(())
    }

    /// Where it is mounted.
    pub(crate) fn small_disk(&self) -> PathBuf {
        self.pipeline.folder().join("small-disk")
    }

    fn mount_small_disk(&mut self) -> Result<()> {
        let disk = self.small_disk();
        std::fs::create_dir_all(&disk)?;
        let path = disk.to_str().context("a path of text")?.to_owned();
        command(&["mount", "-t", "tmpfs", "-o", SMALL_DISK, "tmpfs", &path])?;
        for instance in WITH_BAD_DISK {
            let role = instance.0.command();
            let key = format!("{role}.data");
            self.pipeline.set(instance, &key, &format!("{path}/{role}"));
        }
        Ok(())
    }

    fn start_roles(&mut self) -> Result<()> {
        // The first registry makes the log.
        self.pipeline.start(EVERYBODY[0])?;
        self.wait_ready(&EVERYBODY[..1])?;
        for instance in &EVERYBODY[1..] {
            self.pipeline.start(*instance)?;
        }
        self.wait_ready(&EVERYBODY)
    }

    /// One of these, as the seed has it.
    pub(crate) fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        *among.choose(&mut self.rng).expect("there are some")
    }

    /// Starts again whoever ended by itself, and has the addresses of Redis follow its primary.
    pub(crate) fn tend(&mut self) -> Result<()> {
        if self.rows.follow()? {
            self.say("the Sentinel has another primary");
        }
        for instance in EVERYBODY {
            if self.away.contains(&instance) {
                continue;
            }
            let process = self.pipeline.process(instance)?;
            let Some(status) = process.status()? else {
                continue;
            };
            let Some(since) = self.ended.get(&instance) else {
                self.ended.insert(instance, Instant::now());
                let log = process.log().unwrap_or_default();
                self.ended_badly(instance, status.to_string(), &log);
                continue;
            };
            if since.elapsed() >= RESTART_AFTER {
                self.ended.remove(&instance);
                self.pipeline.start(instance)?;
            }
        }
        Ok(())
    }

    /// Has it stop. One that does so late, or not in order, is a finding and not the end of the run.
    pub(crate) fn stop(&mut self, instance: Instance) -> Result<()> {
        let Err(error) = self.pipeline.stop(instance) else {
            return Ok(());
        };
        self.ended_badly(instance, "told to stop".into(), &format!("{error:#}"));
        self.pipeline.kill9(instance)
    }

    /// Writes down who ended otherwise than by our hand.
    fn ended_badly(&mut self, instance: Instance, status: String, log: &str) {
        let words = log.lines().last().unwrap_or_default().to_owned();
        self.say(&format!("{instance} ended ({status}): {words}"));
        self.exits.push(Exit {
            who: instance.to_string(),
            status,
            words,
            during: self.during.clone(),
        });
    }

    /// Looks after all for so long.
    pub(crate) fn tend_for(&mut self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.tend()?;
            pause(LOOK_EVERY.min(time.saturating_sub(begun.elapsed())));
        }
        Ok(())
    }

    /// Waits until it is so, and looks after all meanwhile; whether it came so far.
    pub(crate) fn tend_until(
        &mut self,
        within: Duration,
        mut is_so: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            self.tend()?;
            if is_so(self) {
                return Ok(true);
            }
            pause(LOOK_EVERY);
        }
        Ok(false)
    }

    /// Waits until these say that they are ready.
    pub(crate) fn wait_ready(&mut self, instances: &[Instance]) -> Result<()> {
        let mut waiting = instances.to_vec();
        let mut last = String::new();
        // Whoever is not started yet is not to be looked after.
        let away = std::mem::take(&mut self.away);
        self.away = EVERYBODY
            .into_iter()
            .filter(|i| !instances.contains(i))
            .chain(away.iter().copied())
            .collect();
        let ready = self.tend_until(READY_WITHIN, |stage| {
            waiting.retain(|instance| {
                match http::get(&format!("{}/readyz", stage.pipeline.health(*instance))) {
                    Ok(answer) if answer.status() == 200 => false,
                    Ok(answer) => {
                        last = answer.into_body();
                        true
                    }
                    Err(_) => true,
                }
            });
            waiting.is_empty()
        });
        self.away = away;
        anyhow::ensure!(
            ready?,
            "not ready within {READY_WITHIN:?}: {waiting:?}: {last}"
        );
        Ok(())
    }

    /// What was hit works again now.
    pub(crate) fn is_healed(&mut self) {
        self.healed = Some(self.meter.now());
    }

    pub(crate) fn say(&self, what: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        eprintln!("{at:7.1} s, {} rows: {what}", self.meter.rows());
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Else the folder could not be removed. It ends with the namespace at the latest.
        let disk = self.small_disk();
        if let Some(path) = disk.to_str().filter(|_| disk.is_dir()) {
            let _ = command(&["umount", "--lazy", path]);
        }
    }
}

fn options(network: &Network) -> PipelineOptions {
    PipelineOptions {
        partitions: PARTITIONS,
        wait_max: WAIT_MAX,
        session_timeout: SESSION,
        is_cluster: true,
        dispatchers: 2,
        hosts: vec![network.host(Group::East), network.host(Group::West)],
        ..PipelineOptions::new(CLICKS)
    }
}
