//! `rtf replay`: has the foreign topic read again from an earlier place. The plan is pure ([`plan`]); what it needs to know is asked of Kafka, and it is
//! carried out by the group's committed positions while no dispatcher runs, or by the running dispatchers.

mod args;
mod file;
mod offline;
mod plan;
mod report;
mod running;
mod watch;

pub use args::{ReplayArgs, ReplayCommand};

use crate::{exit, options, out};
use anyhow::Context;
use plan::{Extent, Plan, Target};
use report::Report;
use rtf_config::Config;
use rtf_kafka::{Cluster, Positions};
use rtf_proto::PartitionId;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;

/// The group and the topic in question.
struct Scene {
    cluster: Cluster,
    positions: Positions,
    group: String,
    topic: String,
}

/// Says what would be read again, or has it done.
///
/// # Errors
/// A position that cannot be meant, a group that is active, a Kafka or a dispatcher that does not answer.
pub async fn run(config: &Config, args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let target = target(&args, config)?;
    let chosen = args.chosen()?;
    let scene = Arc::new(Scene::open(config)?);
    let plan = {
        let scene = scene.clone();
        blocking(move || scene.plan(&target, chosen.as_ref())).await?
    };
    if args.export {
        out::write(file::export(&scene.topic, &plan).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(&scene.group, &scene.topic, &args, plan);
    if !args.execute {
        if !args.running {
            let scene = scene.clone();
            report.active = blocking(move || offline::active(&scene)).await?;
        }
        return report.print();
    }
    if args.running {
        running::execute(config, &args, &mut report).await?;
    } else {
        let (scene, changes) = (scene.clone(), report.plan.changes());
        blocking(move || offline::execute(&scene, &changes)).await?;
        report.executed = true;
    }
    if args.watch {
        watch::until_caught_up(config, &args, scene, &mut report).await?;
    }
    report.print()
}

fn target(args: &ReplayArgs, config: &Config) -> anyhow::Result<Target> {
    let from = &args.from;
    if from.to_latest {
        return Err(exit::usage(
            "--to-latest would skip events that are not resolved: they would be neither joined nor reported, and `rtf verify` would count them as lost. \
             A replay only goes back. To be rid of events that wait, lower [join.wait].max",
        ));
    }
    let file = match &from.from_file {
        None => return from.target(),
        Some(file) => file,
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    let topic = &config.join.foreign.topic;
    let offsets = file::parse(&text, &options::group(config), topic);
    let offsets = offsets.map_err(|words| exit::usage(format!("{}: {words}", file.display())))?;
    Ok(Target::PerPartition(offsets))
}

impl Scene {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let settings = options::kafka(config);
        let (group, topic) = (options::group(config), config.join.foreign.topic.clone());
        Ok(Self {
            cluster: Cluster::connect(&settings)?,
            positions: Positions::open(&settings, &group, &topic)?,
            group,
            topic,
        })
    }

    fn plan(
        &self,
        target: &Target,
        chosen: Option<&BTreeSet<PartitionId>>,
    ) -> anyhow::Result<Plan> {
        let topic = &self.topic;
        let info = self.cluster.topic(topic)?;
        let info = info.with_context(|| format!("foreign topic `{topic}` does not exist"))?;
        let partitions: Vec<PartitionId> = (0..info.partitions).collect();
        let mut times = BTreeMap::new();
        if let Target::Time(time_ms) = target {
            times.extend(self.positions.at_time(&partitions, *time_ms)?);
        }
        let marks: BTreeMap<_, _> = self.positions.committed(&partitions)?.into_iter().collect();
        let extent = |partition: &PartitionId| {
            let (first, end) = self.cluster.offsets(topic, *partition)?;
            Ok(Extent {
                partition: *partition,
                first,
                end,
                mark: marks.get(partition).copied(),
                at_time: times.get(partition).copied(),
            })
        };
        let extents = partitions.iter().map(extent);
        let extents: Vec<Extent> = extents.collect::<anyhow::Result<_>>()?;
        plan::plan(target, &extents, chosen).map_err(|refused| exit::usage(refused.to_string()))
    }
}

/// Kafka's questions block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
