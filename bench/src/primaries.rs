//! What primaries cost that memory cannot hold: loading, memory, restart, look-ups of cold and of hot keys; and, for comparison, records
//! fetched from Kafka by their offsets.

use crate::tools::{rate, scattered};
use anyhow::{Context, Result, ensure};
use rtf_joiner::parts::{RegistersAll, Store};
use rtf_joiner::{Options, Policy};
use rtf_kafka::{Isolation, Polled, Sender, Settings, Start, Tail};
use rtf_proto::{
    EventId, ForeignEvent, JoinKey, JoinVerdict, Joiner, Original, Source, Token, TopicId,
};
use rtf_testing::cost::{cpu_seconds, peak_mib, resident_mib};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PARTITIONS: u64 = 4;
/// Events in a batch of the dispatcher, and batches on their way.
const BATCH: u64 = 500;
const IN_FLIGHT: usize = 16;
const TOPIC: &str = "primaries";
/// A batch each 100 ms.
const PACED: &str = "cold, 5,000 a second";
/// Values made to see what making one costs.
const MADE: u64 = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Primaries, of about 300 bytes
    #[arg(long, default_value_t = 20_000_000)]
    events: u64,
    /// Memory the store may take, MiB
    #[arg(long, default_value_t = 512)]
    memory: usize,
    /// Keys asked for in a look-up run
    #[arg(long, default_value_t = 200_000)]
    questions: u64,
    /// Where to write; removed afterwards [default: a temporary folder]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also fetch records from a real Kafka by their offsets: so many records are put there
    #[arg(long, default_value_t = 0)]
    kafka: u64,
    /// Only open what is in --dir and ask: what this process then holds is all of it
    #[arg(long, hide = true)]
    open_only: bool,
}

fn options(args: &Args, dir: &Path) -> Options {
    Options {
        topic: TOPIC.into(),
        id: vec!["/id".into()],
        key: vec!["/query".into()],
        time: None,
        expires: None,
        folding: rtf_json::Folding::default(),
        policy: Policy::First,
        data: Some(dir.into()),
        memory_bytes: args.memory << 20,
        wanted_keys: 1_000_000,
        batches_in_flight: 2 * IN_FLIGHT,
    }
}

fn key(n: u64) -> String {
    format!("q-{:016x}", scattered(n))
}

fn value(n: u64) -> String {
    let (key, filling) = (key(n), scattered(!n));
    format!(
        r#"{{"id":"p-{n:012}","query":"{key}","words":"{filling:016x}{:0176}","cost":{},"at":{n}}}"#,
        filling % 1_000_003,
        n % 997
    )
}

pub fn run(args: &Args) -> Result<()> {
    if args.kafka > 0 {
        fetch_from_kafka(args.kafka)?;
    }
    if args.open_only {
        return opened(args, args.dir.as_deref().context("--dir")?);
    }
    let folder = rtf_testing::temp_folder("primaries")?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| folder.path().join("store"));
    load(args, &dir)?;
    // A process of its own: this one holds what writing took.
    let status = std::process::Command::new(std::env::current_exe()?)
        .args(["primaries", "--open-only", "--dir"])
        .arg(&dir)
        .args(["--events", &args.events.to_string()])
        .args(["--memory", &args.memory.to_string()])
        .args(["--questions", &args.questions.to_string()])
        .status()?;
    ensure!(status.success(), "{status}");
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn load(args: &Args, dir: &Path) -> Result<()> {
    let mut store = Store::open(&options(args, dir), Arc::new(RegistersAll))?;
    let making = making(value)?;
    let (began, before) = (Instant::now(), own_cpu()?);
    for n in 0..args.events {
        let partition = u32::try_from(n % PARTITIONS)?;
        store.take(partition, n / PARTITIONS, value(n).as_bytes())?;
    }
    let rate = rate(args.events, began);
    let each = ((own_cpu()? - before) / args.events as f64 - making) * 1e6;
    println!(
        "load: {rate:.0} events/s of {} B, {each:.2} CPU µs each: parsed, indexed and merged beside; the time includes {:.2} µs for making one",
        value(0).len(),
        making * 1e6
    );
    store.finish()?;
    println!(
        "{:?}; peak {} MiB resident",
        store.figures(),
        peak_mib(std::process::id())?
    );
    Ok(())
}

fn opened(args: &Args, dir: &Path) -> Result<()> {
    let began = Instant::now();
    let store = Store::open(&options(args, dir), Arc::new(RegistersAll))?;
    println!(
        "open: {:.2} s, {} MiB resident",
        began.elapsed().as_secs_f64(),
        resident_mib()?
    );
    let runtime = tokio::runtime::Runtime::new()?;
    let making = making(foreign)?;
    println!(
        "making a question takes {:.2} CPU µs, which are not counted below",
        making * 1e6
    );
    let joiner = store.joiner();
    let cold =
        |turn: u64| (0..args.questions).map(move |n| scattered(n ^ (turn << 40)) % args.events);
    for (name, numbers) in [
        ("cold", cold(1).collect::<Vec<_>>()),
        (PACED, cold(3).take(100_000).collect()),
        ("cold again", cold(2).collect()),
        (
            "hot",
            cold(2).rev().take(20_000).cycle().take(1_000_000).collect(),
        ),
        (
            "absent",
            (0..args.questions).map(|n| args.events + n).collect(),
        ),
    ] {
        let wanted = name != "absent";
        let every = match name {
            PACED => Duration::from_millis(100),
            _ => Duration::ZERO,
        };
        let before = own_cpu()?;
        let (rate, mut times) = runtime.block_on(ask(&joiner, &numbers, wanted, every))?;
        let each = ((own_cpu()? - before) / numbers.len() as f64 - making) * 1e6;
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "{name}: {rate:.0} look-ups/s, {each:.2} CPU µs each; a batch of {BATCH}: p50 {:.1?}, p99 {:.1?}, most {:.1?}; {} MiB resident",
            at(0.5),
            at(0.99),
            at(1.0),
            resident_mib()?
        );
    }
    println!(
        "{:?}; peak {} MiB resident",
        store.figures(),
        peak_mib(std::process::id())?
    );
    Ok(())
}

/// Joins in batches, one in such a time at the most, so many in flight as the dispatcher has.
async fn ask(
    joiner: &rtf_joiner::JoinerHandle,
    numbers: &[u64],
    wanted: bool,
    every: Duration,
) -> Result<(f64, Vec<Duration>)> {
    let room = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let mut work = tokio::task::JoinSet::new();
    let began = Instant::now();
    let mut turn = tokio::time::interval(every.max(Duration::from_nanos(1)));
    for batch in numbers.chunks(BATCH as usize) {
        if !every.is_zero() {
            turn.tick().await;
        }
        let place = room.clone().acquire_owned().await?;
        let joiner = joiner.clone();
        let batch: Vec<ForeignEvent> = batch.iter().map(|n| foreign(*n)).collect();
        work.spawn(async move {
            let began = Instant::now();
            let verdicts = joiner.join(batch).await;
            drop(place);
            (verdicts, began.elapsed())
        });
    }
    let mut times = Vec::new();
    while let Some(done) = work.join_next().await {
        let (verdicts, time) = done?;
        for verdict in verdicts? {
            let is_right = matches!(verdict, JoinVerdict::Joined(_)) == wanted
                && verdict != JoinVerdict::NotReady;
            ensure!(is_right, "{verdict:?}");
        }
        times.push(time);
    }
    Ok((rate(numbers.len() as u64, began), times))
}

fn foreign(n: u64) -> ForeignEvent {
    ForeignEvent {
        id: EventId::from("x"),
        key: JoinKey::from(key(n).as_str()),
        source: Source {
            topic: "clicks".into(),
            topic_id: TopicId([2; 16]),
            partition: 0,
            offset: n,
        },
        foreign_ts: 0,
        kafka_ts: 0,
        token: Token(1),
        attempts: 0,
        original: Original::default(),
        collect: false,
    }
}

/// CPU seconds to make one, and to drop it.
fn making<T>(make: impl Fn(u64) -> T) -> Result<f64> {
    let before = own_cpu()?;
    (0..MADE).for_each(|n| drop(std::hint::black_box(make(n))));
    Ok((own_cpu()? - before) / MADE as f64)
}

fn own_cpu() -> Result<f64> {
    cpu_seconds(std::process::id())
}

/// Records at random offsets, one of each partition at a time: what a store would do that keeps offsets only.
fn fetch_from_kafka(records: u64) -> Result<()> {
    let servers = rtf_testing::Servers::start()?;
    let settings = Settings {
        bootstrap: servers.kafka.bootstrap(),
        ..Settings::default()
    };
    let cluster = rtf_kafka::Cluster::connect(&settings)?;
    cluster.ensure_topic(TOPIC, PARTITIONS as u32, None, &[])?;
    let sender = Sender::open(&settings)?;
    for n in 0..records {
        sender.send(
            TOPIC,
            Some((n % PARTITIONS) as u32),
            None,
            Some(value(n).as_bytes()),
        )?;
    }
    sender.flush(PATIENCE)?;
    for readers in [1, 4, 16] {
        let reading = |reader: u64| {
            let settings = settings.clone();
            std::thread::spawn(move || fetch(&settings, records / PARTITIONS, reader))
        };
        let began = Instant::now();
        let threads: Vec<_> = (0..readers).map(reading).collect();
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().expect("it does not panic")?);
        }
        let rate = rate(times.len() as u64 * PARTITIONS, began);
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!(
            "kafka, {readers} readers: {rate:.0} records/s by offset; one of each of {PARTITIONS} partitions: p50 {:.1?}, p99 {:.1?}",
            at(0.5),
            at(0.99)
        );
    }
    Ok(())
}

const ROUNDS: u64 = 200;

fn fetch(settings: &Settings, end: u64, reader: u64) -> Result<Vec<Duration>> {
    let offset = |n: u64| scattered(n) % end;
    let starts = |round: u64| {
        let start = move |p: u64| {
            (
                p as u32,
                Start::Offset(offset((((reader << 20) | round) << 8) | p)),
            )
        };
        (0..PARTITIONS).map(start).collect::<Vec<_>>()
    };
    let tail = Tail::open(settings, TOPIC, &starts(0), Isolation::ReadCommitted)?;
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let wanted = starts(round);
        tail.assign(&wanted)?;
        let mut missing: Vec<_> = wanted;
        while !missing.is_empty() {
            ensure!(began.elapsed() < PATIENCE, "no answer");
            match tail.poll(Duration::from_millis(100)) {
                Polled::Record(record) => {
                    let found = (record.partition(), Start::Offset(record.offset()));
                    missing.retain(|wanted| *wanted != found);
                }
                Polled::Failed(error) => return Err(error.into()),
                _ => {}
            }
        }
        times.push(began.elapsed());
    }
    Ok(times)
}
