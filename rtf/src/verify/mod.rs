//! `rtf verify`: reads foreign topic, join log, dead letters and sink, and compares them.
//!
//! It believes none of the roles: winners are found anew from the raw records of the log. Things are read in an order that
//! makes it safe beside a running pipeline: first what the groups have committed, then the foreign topic and the retry topics, then, partition by
//! partition, the log, its dead letters and its rows. What was committed must be parked or in the log; what is in the log may not
//! be in the topic or in Redis yet.
//!
//! ```text
//! foreign topic ──┐                                          ┌─ by id: who has no outcome? one file of each kind in memory at a time
//! retry topics ───┼─▶ files of ids, 128 of each kind ────────┘
//! join log ───────┘
//!     └─▶ accepted records of one partition, a file ─────────── by place: dead letters and rows, each in the log's order, nothing kept
//! ```
//!
//! So memory holds the ids that one family of the log's partitions remembers (a partition and what was split off it), and later one file's. With
//! `--state` the files and what came out so far are kept, and another process goes on.

mod foreign;
mod ids;
mod letters;
mod log;
mod partition;
mod places;
mod report;
mod sink;
mod spill;
mod state;

use crate::cli::VerifyArgs;
use crate::{out, parked, progress};
use foreign::Foreign;
use letters::Letters;
use log::LogReader;
use places::{Accepted, Comparison, View};
use rtf_config::Config;
use rtf_kafka::{Cluster, Settings};
use rtf_proto::partitioner::murmur2;
use rtf_proto::{PartitionId, header, naming};
use sink::Sink;
use state::{Progress, Subject, Work};
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;

pub use report::Report;

/// A joined name of one event: 128 bits of its id's hashes, the lowest 32 those by which it has its partition of the log. Ids themselves are not
/// kept: a hundred million would not fit.
type IdHash = u128;

fn hash(id: &[u8]) -> IdHash {
    use std::hash::{DefaultHasher, Hasher};
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(id);
        hasher.finish()
    };
    let third = half(1) & !u64::from(u32::MAX);
    u128::from(half(0)) << 64 | u128::from(third) | u128::from(murmur2(id))
}

/// The partition of an id among so many.
fn share(id: IdHash, count: u32) -> PartitionId {
    let positive = id & 0x7fff_ffff;
    u32::try_from(positive).expect("31 bits") % count
}

/// Runs `rtf verify`. Exit code 1 if anything is lost or duplicated.
///
/// # Errors
/// Something could not be read.
pub async fn run(config: Config, settings: Settings, args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let is_json = args.report.json;
    let runtime = Handle::current();
    let verify = move || Verification::begin(&config, &settings, &args)?.run(&runtime);
    let report = tokio::task::spawn_blocking(verify).await??;
    if is_json {
        out::line(serde_json::to_string(&report)?)?;
    } else {
        out::write(report.to_string().as_bytes())?;
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A comparison under way.
struct Verification<'a> {
    config: &'a Config,
    settings: &'a Settings,
    cluster: Cluster,
    foreign: Foreign,
    /// `None`: nothing ran yet, everything is still waiting.
    log: Option<LogReader>,
    work: Work,
}

impl<'a> Verification<'a> {
    /// Asks where everything begins and ends. Blocking.
    fn begin(
        config: &'a Config,
        settings: &'a Settings,
        args: &VerifyArgs,
    ) -> anyhow::Result<Self> {
        let cluster = Cluster::connect(settings)?;
        // Before the ends of the topics are asked for.
        let group = crate::options::group(config);
        let committed = cluster.committed(&group, &config.join.foreign.topic)?;
        let retry = parked::positions(&cluster, config)?;
        let foreign = Foreign::open(&cluster, config, settings)?;
        let topic = naming::log_topic(&config.join.name);
        let log = LogReader::open(
            &cluster,
            settings,
            &topic,
            config.registry.skipped().collect(),
        )?;
        let subject = Subject {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            foreign: foreign.id().to_string(),
            log: log
                .as_ref()
                .map_or_else(String::new, |log| log.id().to_string()),
            partitions: log.as_ref().map_or(0, LogReader::partitions),
            sample: args.sample,
        };
        let families = log.as_ref().map_or(0, |log| log.families().len());
        let begin = || {
            let chosen = sample(families, args.sample, now_ns());
            Ok(Progress::begin(subject.clone(), committed, retry, chosen))
        };
        let work = Work::open(args.state.as_deref(), &subject, begin)?;
        Ok(Self {
            config,
            settings,
            cluster,
            foreign,
            log,
            work,
        })
    }

    /// Does what is not done yet. Blocking.
    fn run(mut self, runtime: &Handle) -> anyhow::Result<Report> {
        self.work.save()?;
        self.read_foreign()?;
        self.read_parked()?;
        self.read_log(runtime)?;
        let report = self.compare_ids()?;
        self.work.remove();
        Ok(report)
    }

    fn read_foreign(&mut self) -> anyhow::Result<()> {
        let committed: HashMap<_, _> = self.work.progress.committed.iter().copied().collect();
        for partition in 0..self.foreign.partitions() {
            if self.work.progress.foreign_done.contains(&partition) {
                continue;
            }
            let next = committed.get(&partition).copied().flatten();
            let (log, work) = (&self.log, &mut self.work);
            self.foreign.read(partition, next, |seen| {
                work.progress.report.foreign_records += 1;
                if is_chosen(log.as_ref(), &work.progress.families, seen.id) {
                    work.foreign.push(&seen)?;
                }
                Ok(())
            })?;
            work.progress.foreign_done.insert(partition);
            work.save()?;
        }
        Ok(())
    }

    fn read_parked(&mut self) -> anyhow::Result<()> {
        if self.work.progress.parked_done {
            return Ok(());
        }
        let work = &mut self.work;
        let positions = &work.progress.retry;
        parked::read(&self.cluster, self.settings, positions, |_, record| {
            if let Some(id) = header::text(&record.headers(), header::ID) {
                work.parked.push(&hash(id.as_bytes()))?;
            }
            Ok(true)
        })?;
        work.progress.parked_done = true;
        work.save()
    }

    fn read_log(&mut self, runtime: &Handle) -> anyhow::Result<()> {
        let Some(reader) = &self.log else {
            return Ok(());
        };
        let topic = naming::dead_letter_topic(&self.config.join.name);
        let letters = Letters::open(&self.cluster, self.settings, &topic, reader.id())?;
        let mut sink = Sink::of(self.config)?;
        let emits_unmatched = crate::options::emits_unmatched(self.config);
        let families = reader.families();
        let mut log = reader.log();
        let work = &mut self.work;
        work.progress.report.partitions = reader.partitions();
        for number in work.progress.families.clone() {
            if work.progress.families_done.contains(&number) {
                continue;
            }
            // What is interrupted here begins anew, from what was saved last.
            for partition in families.get(number).into_iter().flatten().copied() {
                let mut end = None;
                work.accepted.clear()?;
                reader.read(&mut log, partition, |winner| {
                    work.progress.report.accepted(winner.outcome);
                    work.resolved.push(&winner.id)?;
                    let (id, offset) = (winner.id, winner.offset);
                    let accepted = Accepted::new(id, offset, winner.outcome, emits_unmatched);
                    work.accepted.push(&accepted)?;
                    end = Some(offset);
                    Ok(())
                })?;
                let report = &mut work.progress.report;
                report.partitions_checked += 1;
                let accepted = work.accepted.entries()?;
                let mut view = Comparison::new(View::Letters, partition, accepted, end, report)?;
                letters.read(partition, |offset| Ok(view.met(offset, None)?))?;
                view.finish()?;
                let accepted = work.accepted.entries()?;
                let mut view = Comparison::new(View::Rows, partition, accepted, end, report)?;
                let rows = sink.read(partition, |offset, id| Ok(view.met(offset, Some(id))?));
                runtime.block_on(rows)?;
                view.finish()?;
            }
            let (ages, superseded, misplaced) = log.close();
            let progress = &mut work.progress;
            progress.report.superseded += superseded;
            progress.report.misplaced += misplaced;
            progress.ages.extend(ages.iter().map(|age| {
                let mut bytes = Vec::new();
                age.encode(&mut bytes);
                bytes
            }));
            progress.families_done.insert(number);
            work.save()?;
        }
        Ok(())
    }

    /// What is still open: who has no outcome.
    fn compare_ids(&mut self) -> anyhow::Result<Report> {
        let work = &mut self.work;
        let mut report = work.progress.report.clone();
        let known = ids::Known {
            topic_id: self.foreign.id(),
            ages: &work.progress.ages()?,
        };
        let files = work.foreign.files().zip(work.parked.files());
        let bar = progress::Progress::new("by id", None);
        for ((foreign, parked), resolved) in files.zip(work.resolved.files()) {
            known.compare(
                foreign.entries()?,
                parked.entries()?,
                resolved.entries()?,
                &mut report,
            )?;
            bar.add(1);
        }
        bar.finish();
        Ok(report)
    }
}

/// Whether an event is looked at.
fn is_chosen(log: Option<&LogReader>, chosen: &[usize], id: IdHash) -> bool {
    log.is_none_or(|log| chosen.contains(&log.family(id)))
}

/// Such a part of so many, at least one, evenly spread, others each time.
fn sample(families: usize, percent: u8, seed: u64) -> Vec<usize> {
    let count = (families * usize::from(percent)).div_ceil(100);
    let first = usize::try_from(seed % families.max(1) as u64).expect("below a usize");
    let mut chosen: Vec<_> = (0..count)
        .map(|n| (first + n * families / count) % families)
        .collect();
    chosen.sort_unstable();
    chosen
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::from(now.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtf_proto::partitioner::partition_of;

    #[test]
    fn a_sample_is_a_part() {
        assert_eq!(sample(4, 100, 7), [0, 1, 2, 3]);
        assert_eq!(sample(16, 25, 1), [1, 5, 9, 13]);
        assert_eq!(sample(16, 1, 1_000_000_003), [3]);
        assert_eq!(sample(3, 50, 2), [0, 2]);
        assert!(sample(0, 100, 5).is_empty());
    }

    #[test]
    fn a_hash_tells_the_partition() {
        for number in 0..1000 {
            let id = format!("id-{number}");
            let id = id.as_bytes();
            assert_eq!(share(hash(id), 24), partition_of(id, 24));
        }
    }
}
