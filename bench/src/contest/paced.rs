//! A paced load: clicks sent at a steady rate, and when the row of each was read. What is made of that is for others.

use crate::contest::contender::{Contender, Job};
use crate::oracle::{Faults, Oracle, Tally};
use crate::output::Output;
use crate::stage::{Stage, Topics, all_match, stop};
use anyhow::{Context, Result, anyhow, bail};
use rtf_kafka::Sender;
use rtf_synth::{Clicks, ClicksParams, Event, Share, Side};
use rtf_testing::Process;
use rtf_testing::cost::peak_mib;
use std::num::NonZeroU32;
use std::slice;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Clicks before the load, whose rows show that all is up.
const PROBES: u64 = 100;
const UP_WITHIN: Duration = Duration::from_secs(120);
/// After the load: when nothing has come for so long, nothing more will.
const STALLED: Duration = Duration::from_secs(60);
/// After the last row, for those that come twice.
const LINGER: Duration = Duration::from_secs(2);
const PACE_EVERY: Duration = Duration::from_millis(1);

/// What is sent, and what happens meanwhile.
#[derive(Clone, Copy)]
pub struct Load {
    /// Clicks a second.
    pub rate: NonZeroU32,
    /// Queries that come after their click; the others come before.
    pub late: Share,
    /// Not counted: everything is still warming up.
    pub warm_up: Duration,
    /// Counted.
    pub time: Duration,
    /// When it is killed, and started again at once, in the counted time.
    pub kill_after: Option<Duration>,
}

/// What came of a load. Times are from its first event.
pub struct Course {
    /// Of each click that came out: when it was handed to the producer, and when its row was read. In the order of arrival.
    pub rows: Vec<(Duration, Duration)>,
    pub warm_up: Duration,
    pub killed: Option<Duration>,
    /// Cores kept busy on average: own, Kafka's, Redis's. Where it is killed, its own are those of the one that was started again.
    pub cores: [f64; 3],
    /// Of the one that ran last.
    pub peak_mib: u64,
    pub faults: Faults,
}

impl Load {
    fn clicks(&self, seed: u64, count: u64) -> Clicks {
        Clicks::new(ClicksParams {
            seed,
            per_second: self.rate,
            late: self.late,
            ..all_match(count).params().clone()
        })
    }

    fn probes(&self) -> Clicks {
        self.clicks(2, PROBES)
    }

    fn all(&self) -> Clicks {
        let seconds = (self.warm_up + self.time).as_secs();
        self.clicks(1, u64::from(self.rate.get()) * seconds)
    }
}

/// Runs a contender under this load; its rows, topics and files are gone afterwards.
pub fn run(stage: &Stage, contender: Contender, name: &str, load: &Load) -> Result<Course> {
    let name = format!("{name}-{}", contender.word());
    let job = Job {
        topics: Topics {
            foreign: format!("{name}-clicks"),
            primary: format!("{name}-queries"),
        },
        name,
    };
    stage.make_topics(&job.topics)?;
    contender.prepare(stage, &job)?;
    let course = follow(stage, contender, &job, load);
    stage.clear(&job.name)?;
    course
}

fn follow(stage: &Stage, contender: Contender, job: &Job, load: &Load) -> Result<Course> {
    let events = load.probes().events().chain(load.all().events());
    let oracle = Oracle::of(events, contender.joins())?;
    let mut watched = Watched {
        output: contender.output(stage, job)?,
        tally: Tally::new(&oracle),
        process: contender.start(stage, job)?,
        arrivals: Vec::new(),
    };
    let sender = Sender::open(&stage.settings())?;
    watched.probe(load.probes().events(), &sender, &job.topics)?;

    let sent: Vec<OnceLock<Instant>> = (0..oracle.clicks()).map(|_| OnceLock::new()).collect();
    let begun = Instant::now();
    let (killed, cores) = thread::scope(|scope| {
        let events = load.all().events();
        let sending = scope.spawn(|| send(events, &sender, &job.topics, begun, &sent));
        let seen = watched.follow(load, begun, stage, || contender.start(stage, job));
        let sent = sending.join().map_err(|_| anyhow!("the sender panicked"))?;
        sent.and(seen)
    })?;
    let (arrivals, faults) = (watched.arrivals, watched.tally.faults());
    let peak_mib = peak_mib(watched.process.pid())?;
    stop(watched.process)?;
    let rows = arrivals.iter().filter_map(|(index, at)| {
        let sent = sent[*index].get()?;
        Some((*sent - begun, *at - begun))
    });
    Ok(Course {
        rows: rows.collect(),
        warm_up: load.warm_up,
        killed,
        cores,
        peak_mib,
        faults,
    })
}

struct Watched<'a> {
    output: Output,
    tally: Tally<'a>,
    process: Process,
    /// Clicks by their number, and when their row was read first.
    arrivals: Vec<(usize, Instant)>,
}

impl Watched<'_> {
    /// Reads what has come, and says how many rows that was.
    fn read(&mut self) -> Result<usize> {
        let (tally, arrivals) = (&mut self.tally, &mut self.arrivals);
        self.output.read(|_, row| {
            let index = tally.count(row);
            arrivals.extend(index.map(|index| (index, Instant::now())));
        })
    }

    /// Waits until it is up, which the first rows show.
    fn probe(
        &mut self,
        events: impl Iterator<Item = Event>,
        sender: &Sender,
        topics: &Topics,
    ) -> Result<()> {
        for event in events {
            topics.send(sender, &event)?;
        }
        let deadline = Instant::now() + UP_WITHIN;
        while (self.arrivals.len() as u64) < PROBES {
            self.check_running()?;
            if Instant::now() > deadline {
                bail!("it was not up in time:\n{}", self.process.log()?);
            }
            self.read()?;
        }
        Ok(())
    }

    /// Until all has come or nothing more comes. Returns when it was killed, and what cores were busy.
    fn follow(
        &mut self,
        load: &Load,
        begun: Instant,
        stage: &Stage,
        start: impl Fn() -> Result<Process>,
    ) -> Result<(Option<Duration>, [f64; 3])> {
        let kill_at = load.kill_after.map(|after| begun + load.warm_up + after);
        let end = begun + load.warm_up + load.time;
        let (mut killed, mut meter, mut cores) = (None, None, None);
        let mut last_row = Instant::now();
        loop {
            if killed.is_none() && kill_at.is_some_and(|at| Instant::now() >= at) {
                killed = Some(begun.elapsed());
                self.process.kill9()?;
                self.process = start()?;
                meter = None;
            }
            if meter.is_none() && begun.elapsed() > load.warm_up {
                meter = Some(Meter::start(stage, &self.process)?);
            }
            if let (None, Some(meter)) = (&cores, &meter)
                && Instant::now() >= end
            {
                cores = Some(meter.cores(stage, &self.process)?);
            }
            if self.read()? > 0 {
                last_row = Instant::now();
            }
            let patience = if self.tally.is_complete() {
                LINGER
            } else {
                STALLED
            };
            if Instant::now() > end && last_row.elapsed() > patience {
                return Ok((killed, cores.unwrap_or_default()));
            }
            self.check_running()?;
        }
    }

    fn check_running(&mut self) -> Result<()> {
        if !self.process.is_running()? {
            bail!("it ended:\n{}", self.process.log()?);
        }
        Ok(())
    }
}

/// CPU seconds since a moment.
struct Meter {
    before: [f64; 3],
    from: Instant,
}

impl Meter {
    fn start(stage: &Stage, process: &Process) -> Result<Self> {
        Ok(Self {
            before: stage.cpu_seconds(slice::from_ref(process))?,
            from: Instant::now(),
        })
    }

    fn cores(&self, stage: &Stage, process: &Process) -> Result<[f64; 3]> {
        let now = stage.cpu_seconds(slice::from_ref(process))?;
        let elapsed = self.from.elapsed().as_secs_f64();
        Ok(std::array::from_fn(|i| (now[i] - self.before[i]) / elapsed))
    }
}

fn send(
    events: impl Iterator<Item = Event>,
    sender: &Sender,
    topics: &Topics,
    begun: Instant,
    sent: &[OnceLock<Instant>],
) -> Result<()> {
    let mut clicks = sent.iter().skip(usize::try_from(PROBES)?);
    for event in events {
        let due = Duration::from_millis(event.at_ms.max(0).unsigned_abs());
        while begun.elapsed() < due {
            thread::sleep((due - begun.elapsed().min(due)).min(PACE_EVERY));
        }
        if event.side == Side::Foreign {
            // Unless its query is late, the click is the later side.
            let place = clicks.next().context("a place for each click")?;
            place.get_or_init(Instant::now);
        }
        topics.send(sender, &event)?;
    }
    Ok(())
}
