//! What remembering costs: ids in a hot bucket and in sealed ones, beside one sled key per id. A synthetic log, real sled.

use crate::tools::{rate, scattered};
use anyhow::{Context, Result};
use rtf_proto::record::{Event, Stamp};
use rtf_proto::{Incarnation, LogId, Outcome, PartitionId, Token, TopicId};
use rtf_registry::parts::{
    Decision, Place, Remembered, Sealed, SealedEntry, Sealer, Store, apply, hash_of,
};
use rtf_testing::cost::{folder_bytes, peak_mib, resident_mib};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOG: LogId = TopicId([1; 16]);
const ID_BYTES: usize = 20;
/// Winners between two commits, and commits between two syncs, about as a busy replica has them.
const COMMIT_IDS: u64 = 2048;
const SYNC_EVERY: Duration = Duration::from_secs(2);
/// Ids asked for in a look-up run.
const QUESTIONS: u64 = 2_000_000;
/// sled alone gets slower the more it has; more than this would take all day.
const NAIVE_IDS: u64 = 1_000_000;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids in sealed buckets
    #[arg(long, default_value_t = 10_000_000)]
    ids: u64,
    /// Ids in the hot bucket
    #[arg(long, default_value_t = 3_000_000)]
    hot: u64,
    /// Sealed buckets
    #[arg(long, default_value_t = 12)]
    buckets: u64,
    /// Partitions of the log
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    /// Where to write; removed afterwards [default: a temporary folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only open what is in --dir and ask: what this process then holds is all of it
    #[arg(long, hide = true)]
    open_only: bool,
}

/// Id number `n`: looks random, can be made again.
pub fn id_of(n: u64) -> [u8; ID_BYTES] {
    let mut id = [0; ID_BYTES];
    for (part, word) in id.chunks_mut(8).zip(3 * n..) {
        part.copy_from_slice(&scattered(word).to_le_bytes()[..part.len()]);
    }
    id
}

pub fn run(args: &Args) -> Result<()> {
    if args.open_only {
        return sealed_figures(args, args.dir.as_deref().context("--dir")?);
    }
    let folder = rtf_testing::temp_folder("ids")?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| folder.path().join("ids"));
    std::fs::create_dir_all(&dir)?;
    naive(&dir.join("naive"), args.hot.min(NAIVE_IDS))?;
    hot(args, &dir.join("hot"))?;
    seal(args, &dir)?;
    // A process of its own: this one holds what writing took.
    let status = std::process::Command::new(std::env::current_exe()?)
        .args(["ids", "--open-only", "--dir"])
        .arg(&dir)
        .args(["--ids", &args.ids.to_string()])
        .args(["--buckets", &args.buckets.to_string()])
        .args(["--partitions", &args.partitions.to_string()])
        .status()?;
    std::fs::remove_dir_all(&dir)?;
    anyhow::ensure!(status.success(), "the reading process failed");
    Ok(())
}

/// One key per id, as one would begin.
fn naive(dir: &Path, ids: u64) -> Result<()> {
    let db = sled::Config::new().path(dir).flush_every_ms(None).open()?;
    let begun = Instant::now();
    for n in 0..ids {
        db.insert(id_of(n), &n.to_le_bytes())?;
    }
    db.flush()?;
    let (rate, bytes) = (rate(ids, begun), db.size_on_disk()?);
    println!(
        "one sled key per id:  {rate:>10.0} ids/s  {:>5.1} B/id on disk  ({ids} ids)",
        bytes as f64 / ids as f64
    );
    drop(db);
    Ok(std::fs::remove_dir_all(dir)?)
}

/// A partition that remembers more and more: a log of new ids is applied to it, on one thread, with commits and syncs.
pub struct Growing {
    pub store: Store,
    pub remembered: Remembered,
    ids: u64,
    synced: Instant,
}

impl Growing {
    /// With none, in this empty folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let store = Store::open(dir, "ids", LOG)?;
        let (remembered, _) = Remembered::load(0, &store)?;
        Ok(Self {
            store,
            remembered,
            ids: 0,
            synced: Instant::now(),
        })
    }

    /// Until it remembers so many, and they are on disk.
    pub fn grow(&mut self, ids: u64) -> Result<()> {
        for n in self.ids..ids {
            self.apply(n)?;
            if (n + 1) % COMMIT_IDS == 0 {
                self.commit(n + 1)?;
                if self.synced.elapsed() > SYNC_EVERY {
                    self.store.sync()?;
                    self.synced = Instant::now();
                }
            }
        }
        self.commit(ids)?;
        self.ids = ids;
        Ok(self.store.sync()?)
    }

    fn apply(&mut self, n: u64) -> Result<()> {
        let place = Place {
            log: LOG,
            partitions: 1,
            partition: 0,
        };
        let stamp = Stamp {
            log: LOG,
            partitions: 1,
            incarnation: Incarnation(1),
            sequence: 0,
        };
        let id = id_of(n);
        let event = Event {
            id: &id,
            outcome: Outcome::Joined,
            token: Token(n),
            source: (LOG, 0, n),
            later_ts: 0,
            body: b"",
        };
        self.remembered.reach(n, 1);
        let decision = apply(&place, &mut self.remembered, n, &stamp, &event)?;
        anyhow::ensure!(decision == Decision::Won);
        Ok(())
    }

    fn commit(&mut self, next: u64) -> Result<()> {
        self.store
            .commit(&[self.remembered.uncommitted(next, None)])?;
        self.remembered.committed();
        Ok(())
    }
}

fn hot(args: &Args, dir: &Path) -> Result<()> {
    let before = resident_mib()?;
    let mut growing = Growing::open(dir)?;
    let begun = Instant::now();
    growing.grow(args.hot)?;
    let applied = rate(args.hot, begun);
    let Growing {
        store, remembered, ..
    } = growing;
    let absent = ask(args.hot, |n| remembered.is_absent(&id_of(n)));
    println!(
        "hot bucket:           {applied:>10.0} ids/s  {:>5.1} B/id on disk  {:>5.1} B/id resident, sled's cache and all  absent {absent:.0}/s  ({} ids)",
        store.bytes() as f64 / args.hot as f64,
        (resident_mib()?.saturating_sub(before) << 20) as f64 / args.hot as f64,
        args.hot
    );
    drop((remembered, store));
    let begun = Instant::now();
    let store = Store::open(dir, "ids", LOG)?;
    let (remembered, _) = Remembered::load(0, &store)?;
    println!(
        "  opened again in {:.1} s ({} ids)",
        begun.elapsed().as_secs_f64(),
        remembered.ids()
    );
    drop((remembered, store));
    Ok(std::fs::remove_dir_all(dir)?)
}

/// Questions a second; the ids are made outside of the measured time's difference by making them alone first.
fn ask(from: u64, is_so: impl Fn(u64) -> bool) -> f64 {
    let begun = Instant::now();
    let made: u64 = (from..from + QUESTIONS)
        .map(|n| u64::from(id_of(n)[0]))
        .sum();
    let making = begun.elapsed();
    let begun = Instant::now();
    let yes = (from..from + QUESTIONS).filter(|n| is_so(*n)).count();
    let asking = begun.elapsed().saturating_sub(making);
    assert!(yes > 0 && made > 0, "the answers are used");
    QUESTIONS as f64 / asking.as_secs_f64()
}

fn seal(args: &Args, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    for bucket in 0..args.buckets {
        let mut sealer = Sealer::create(&dir.join(bucket.to_string()))?;
        for partition in 0..args.partitions {
            let ids = numbers(args, bucket, partition);
            let entry = |n| SealedEntry {
                id: id_of(n).into(),
                offset: offset_of(args, n),
                outcome: Outcome::Joined,
            };
            sealer.partition(partition, ids.map(entry).collect())?;
        }
        sealer.finish()?;
    }
    println!(
        "sealing:              {:>10.0} ids/s  (peak {} MiB)",
        rate(args.ids, begun),
        peak_mib(std::process::id())?
    );
    Ok(())
}

/// Where id number `n` won: a bucket's offsets in a partition follow one another.
fn offset_of(args: &Args, n: u64) -> u64 {
    n / (args.buckets * u64::from(args.partitions))
}

/// The ids of one partition in one bucket.
fn numbers(args: &Args, bucket: u64, partition: PartitionId) -> impl Iterator<Item = u64> + use<> {
    let parts = args.buckets * u64::from(args.partitions);
    let part = bucket * u64::from(args.partitions) + u64::from(partition);
    (part..args.ids).step_by(usize::try_from(parts).expect("a few hundred"))
}

fn sealed_figures(args: &Args, dir: &Path) -> Result<()> {
    let begun = Instant::now();
    let sealed: Vec<Sealed> = (0..args.buckets)
        .map(|bucket| Sealed::open(&dir.join(bucket.to_string())))
        .collect::<Result<_, _>>()?;
    let opened = begun.elapsed().as_secs_f64();
    let mut bytes = 0;
    for bucket in 0..args.buckets {
        let path = dir.join(bucket.to_string());
        bytes += folder_bytes(&path)?;
    }
    let memory: usize = sealed.iter().map(Sealed::memory_bytes).sum();
    let resident = resident_mib()?;
    let absent = ask(args.ids, |n| {
        let hash = hash_of(&id_of(n));
        let partition = (n % u64::from(args.partitions)) as PartitionId;
        sealed
            .iter()
            .all(|bucket| bucket.is_absent(partition, hash))
    });
    let present = present(args, &sealed)?;
    println!(
        "{} sealed buckets:    {} ids  {:.1} B/id on disk  {:.2} B/id in memory  opened in {opened:.1} s, then {resident} MiB resident ({} after the look-ups)",
        args.buckets,
        args.ids,
        bytes as f64 / args.ids as f64,
        memory as f64 / args.ids as f64,
        resident_mib()?
    );
    println!(
        "  look-ups on one core, over all buckets: absent {absent:.0}/s, present {present:.0}/s"
    );
    Ok(())
}

fn present(args: &Args, sealed: &[Sealed]) -> Result<f64> {
    let asked = (QUESTIONS / 4).min(args.ids);
    let parts = args.buckets * u64::from(args.partitions);
    let begun = Instant::now();
    for question in 0..asked {
        let n = scattered(question) % args.ids;
        let (id, partition) = (
            id_of(n),
            (n % parts % u64::from(args.partitions)) as PartitionId,
        );
        let hash = hash_of(&id);
        let mut found = None;
        for bucket in sealed.iter().rev() {
            found = bucket.find(partition, hash, &id)?;
            if found.is_some() {
                break;
            }
        }
        anyhow::ensure!(
            found == Some((offset_of(args, n), Outcome::Joined)),
            "id {n} is not found"
        );
    }
    Ok(rate(asked, begun))
}
