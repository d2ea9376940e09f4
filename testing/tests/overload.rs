//! Overload: three times as much as the pipeline sustains. Nothing is lost, what is too much stays in Kafka and not in memory, look-ups and health answer all the
//! time, and afterwards the backlog drains at full speed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rtf_synth::{CLICKS, Clicks, ClicksParams, Share};
use rtf_testing::{
    Instance, Load, PipelineOptions, Progress, Role, Scene, cost, http, pause, wait_until,
};

const ALL: Instance = Instance(Role::All, 0);
/// One batch of so many on its way: what bounds this pipeline is a setting and not the machine, which has Kafka and the load to carry too.
const BATCH: &str = "5";
/// So much is joined without a pause to see what it sustains.
const PROBE: u64 = 20_000;
/// Of the probe, what is left out at both ends.
const PROBE_EDGE: u64 = 3_000;
const TIMES: f64 = 3.0;
/// Two minutes by hand: `RTF_OVERLOAD_SECONDS=120`.
const SECONDS_VARIABLE: &str = "RTF_OVERLOAD_SECONDS";
const SECONDS: u64 = 40;
/// All roles in one process, primaries and all.
const MEMORY_MIB_MAX: u64 = 768;
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// Against the rate before, on a machine where others work too.
const FULL_SPEED: f64 = 0.7;
const ASK_EVERY: Duration = Duration::from_millis(100);
/// The ends of topics are asked for every five seconds.
const LAG_WITHIN: Duration = Duration::from_secs(15);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DRAINED_WITHIN: Duration = Duration::from_secs(900);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_too_much_waits_in_kafka_and_everything_else_goes_on() -> Result<()> {
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(Ok(SECONDS), |text| text.parse())?;
    let options = PipelineOptions {
        wait_max: "10m",
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        count: PROBE,
        per_second: 100_000.try_into()?,
        orphans: Share::NONE,
        late: Share::NONE,
        duplicates: Share::NONE,
        malformed: Share::NONE,
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks.clone())?;
    scene.pipeline.set(ALL, "dispatcher.batch", BATCH);
    scene.pipeline.set(ALL, "dispatcher.in_flight", "1");
    // The probe is there before anybody reads it.
    let probe = scene.load()?.finish()?;
    scene.pipeline.start_ready(ALL, READY_WITHIN)?;
    let sustained = rate(&mut scene.progress, PROBE_EDGE, PROBE - PROBE_EDGE)?;
    scene.progress.wait_rows(probe.joins, DRAINED_WITHIN)?;

    let over = sustained * TIMES;
    let more = Clicks::new(ClicksParams {
        seed: 2,
        count: (over * seconds as f64) as u64,
        per_second: (over as u32).try_into()?,
        ..clicks
    });
    let watch = Watch::start(&scene)?;
    let load = Load::start(scene.checker.settings(), CLICKS, more.events())?;
    let tally = load.finish()?;
    let behind = tally.joins + probe.joins - scene.progress.rows()?;
    let url = scene.pipeline.health(ALL);
    let figure = |name| http::metric(&url, name, "");
    let held = figure("rtf_dispatcher_in_flight")? + figure("rtf_dispatcher_waiting")?;
    eprintln!(
        "overload: sustains {sustained:.0}/s, was sent {over:.0}/s for {seconds} s; then {behind} behind, {held} of them held"
    );
    ensure!(
        behind as f64 > over * seconds as f64 / 5.0,
        "it was not too much: {behind} behind"
    );
    // Back-pressure reaches the consumer: what is behind is not held by the process.
    ensure!(
        held < 0.1 * behind as f64,
        "of {behind} {held} are held in memory"
    );
    // And the figure that people look at, which is some seconds old, says so.
    let (all, topic) = (probe.joins + tally.joins, CLICKS.foreign.topic);
    wait_until("the lag to be told", LAG_WITHIN, || {
        let lag = http::metric(&url, "rtf_consumer_lag_records", topic).ok()?;
        let behind = all - scene.progress.rows().ok()?;
        (lag > 0.9 * behind as f64).then_some(())
    })?;

    let from = scene.progress.rows()?;
    let drains = rate(&mut scene.progress, from, from + behind * 9 / 10)?;
    scene
        .progress
        .wait_rows(probe.joins + tally.joins, DRAINED_WITHIN)?;
    scene.progress.wait_committed(DRAINED_WITHIN)?;
    let seen = watch.finish()?;
    eprintln!("overload: drained at {drains:.0}/s; {seen}");
    ensure!(
        drains > FULL_SPEED * sustained,
        "drained at {drains:.0}/s, sustains {sustained:.0}/s"
    );
    ensure!(seen.memory_mib < MEMORY_MIB_MAX, "{seen}");
    ensure!(seen.p99 <= ANSWERED_WITHIN, "{seen}");

    let expected = scene.clicks.expected().chain(more.expected());
    let checked = scene.checker.check(expected)?;
    eprintln!("overload: {checked:?}");
    scene.pipeline.stop(ALL)
}

/// Rows a second from one number of rows to another.
fn rate(progress: &mut Progress, from: u64, to: u64) -> Result<f64> {
    let mut reach = |rows| {
        wait_until("so many rows", DRAINED_WITHIN, || {
            let now = progress.rows();
            now.map(|now| (now >= rows).then(|| (now, Instant::now())))
                .transpose()
        })?
    };
    let (first, begun) = reach(from)?;
    let (last, ended) = reach(to)?;
    Ok((last - first) as f64 / ended.duration_since(begun).as_secs_f64())
}

/// What the process was like meanwhile.
struct Seen {
    answers: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
    memory_mib: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answers,
            p50,
            p99,
            max,
            memory_mib,
        } = self;
        write!(
            f,
            "{answers} answers, p50 {p50:?}, p99 {p99:?}, max {max:?}; at most {memory_mib} MiB"
        )
    }
}

/// Asks for health and looks events up, from a thread.
struct Watch {
    asking: thread::JoinHandle<Result<Seen>>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    fn start(scene: &Scene) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = is_over.clone();
        let url = scene.pipeline.web();
        let first = scene.clicks.expected().next().context("there are clicks")?;
        let rtf_synth::Expected::Joined { id, .. } = first else {
            return Err(anyhow!("the first click is not joined"));
        };
        let pages = [
            format!("{url}/readyz"),
            format!("{url}/api/lookup?id={id}"),
            format!("{url}/api/rows?limit=10"),
        ];
        let pid = scene.pipeline.pid(ALL)?;
        let asking = thread::spawn(move || {
            let mut times = Vec::new();
            while !end.load(Ordering::Relaxed) {
                for page in &pages {
                    let asked = Instant::now();
                    let answer = http::get(page)?;
                    ensure!(
                        answer.status() == 200,
                        "{page}: {} {}",
                        answer.status(),
                        answer.body()
                    );
                    times.push(asked.elapsed());
                }
                pause(ASK_EVERY);
            }
            times.sort_unstable();
            let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1);
            let at = |percent| at(percent).copied().context("nothing was asked");
            Ok(Seen {
                answers: times.len(),
                p50: at(50)?,
                p99: at(99)?,
                max: at(100)?,
                memory_mib: cost::peak_mib(pid)?,
            })
        });
        Ok(Self { asking, is_over })
    }

    fn finish(self) -> Result<Seen> {
        self.is_over.store(true, Ordering::Relaxed);
        let seen = self.asking.join();
        seen.map_err(|_| anyhow!("the asking thread panicked"))?
    }
}
