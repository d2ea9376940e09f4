//! Collecting partners and left joins, end to end. Which partner the policy chooses is tested with the joiner, by docs/matching.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rtf_kafka::Sender;
use rtf_synth::{Join, Stream};
use rtf_testing::{
    Fate, Instance, Pipeline, PipelineOptions, Progress, Role, Servers, http, pause, wait_until,
};
use serde_json::{Value, json};

const TRIPS: Join = Join {
    name: "trips",
    foreign: Stream::of("wishes", "/from"),
    primary: Stream::of("deals", "/from"),
    order_by: Some("/fare"),
};
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(90);
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
const ALL: Instance = Instance(Role::All, 0);
const DISPATCHER: Instance = Instance(Role::Dispatcher, 0);
const COLLECT_MS: u64 = 5_000;
const COLLECT: &str = "5s";
const WISHES: usize = 40;
const ALONE: usize = 20;

/// What is sent, and what must come of it.
struct Trips {
    sender: Sender,
    expected: Vec<Fate>,
}

impl Trips {
    fn open(servers: &Servers) -> Result<Self> {
        servers.create_topics(&TRIPS, 3)?;
        Ok(Self {
            sender: Sender::open(servers.checker(TRIPS).settings())?,
            expected: Vec::new(),
        })
    }

    fn send(&self, topic: &str, id: &str, value: Option<Value>) -> Result<()> {
        let value = value.map(|value| value.to_string());
        let value = value.as_ref().map(String::as_bytes);
        Ok(self.sender.send(topic, None, Some(id.as_bytes()), value)?)
    }

    fn wish(&self, id: &str) -> Result<()> {
        self.send("wishes", id, Some(json!({"id": id, "from": id})))
    }

    fn deal(&self, id: &str, wish: &str, fare: u32) -> Result<()> {
        let value = json!({"id": id, "from": wish, "fare": fare});
        self.send("deals", id, Some(value))
    }

    fn gone(&self, deal: &str) -> Result<()> {
        self.send("deals", deal, None)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.sender.flush(FLUSH_WITHIN)?)
    }

    fn expect_joined(&mut self, wish: &str, deal: &str) {
        self.expected.push(Fate::Joined {
            id: wish.into(),
            key: wish.into(),
            primary: Some(deal.into()),
        });
    }

    fn expect_unjoinable(&mut self, wish: &str) {
        let (id, key) = (wish.into(), wish.into());
        self.expected.push(Fate::Unjoinable { id, key });
    }

    /// Each wish gets a deal, and a better one a second later; some deals go instead, and others come much later.
    fn wave(&mut self, name: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let wish = |n| format!("{name}-{n}");
        for n in 0..WISHES {
            self.wish(&wish(n))?;
            self.deal(&format!("{name}-{n}-dear"), &wish(n), 90)?;
        }
        self.flush()?;
        meanwhile()?;
        pause(Duration::from_secs(1));
        for n in 0..WISHES {
            if n % 10 == 0 {
                self.gone(&format!("{name}-{n}-dear"))?;
            } else {
                self.deal(&format!("{name}-{n}-cheap"), &wish(n), 70)?;
                self.expect_joined(&wish(n), &format!("{name}-{n}-cheap"));
            }
        }
        self.flush()
    }

    /// What comes when the rows of a wave are there changes none of them; who was left alone is joined now.
    fn afterwards(&mut self, name: &str) -> Result<()> {
        for n in 0..WISHES {
            let (wish, deal) = (format!("{name}-{n}"), format!("{name}-{n}-late"));
            self.deal(&deal, &wish, 10)?;
            if n % 10 == 0 {
                self.expect_joined(&wish, &deal);
            }
        }
        self.flush()
    }
}

/// Until what was expected so far is resolved, and nothing more.
fn resolved(progress: &mut Progress, trips: &Trips) -> Result<()> {
    let expected = trips.expected.len() as u64;
    progress.wait_resolved(expected, DONE_WITHIN)?;
    ensure!(progress.resolved()? == expected, "too early");
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn further_partners_are_waited_for() -> Result<()> {
    let servers = Servers::start()?;
    let mut trips = Trips::open(&servers)?;
    let options = PipelineOptions {
        wait_max: "60s",
        is_cluster: true,
        ..PipelineOptions::new(TRIPS)
    };
    let mut pipeline = servers.pipeline(&options)?;
    pipeline.set(DISPATCHER, "join.match.collect", COLLECT);
    let roles = Role::EACH.map(|role| Instance(role, 0));
    pipeline.start_all(&roles, READY_WITHIN)?;
    let mut progress = servers.progress(TRIPS)?;

    trips.wave("quiet", || Ok(()))?;
    resolved(&mut progress, &trips)?;
    trips.afterwards("quiet")?;
    resolved(&mut progress, &trips)?;
    // Collecting begins anew when the dispatcher comes back.
    trips.wave("killed", || pipeline.kill9(DISPATCHER))?;
    pipeline.start_ready(DISPATCHER, READY_WITHIN)?;
    resolved(&mut progress, &trips)?;
    trips.afterwards("killed")?;
    resolved(&mut progress, &trips)?;

    progress.wait_rows(trips.expected.len() as u64, DONE_WITHIN)?;
    let checked = servers.checker(TRIPS).check(trips.expected)?;
    eprintln!("collected: {checked:?}");
    waited_long_enough(&servers)?;
    for instance in roles {
        pipeline.stop(instance)?;
    }
    Ok(())
}

/// A row is a collecting time behind its best partner, which came a second after the first one.
fn waited_long_enough(servers: &Servers) -> Result<()> {
    const CAME_AFTER_MS: i64 = 1_000;
    let least = i64::try_from(COLLECT_MS)? - CAME_AFTER_MS;
    let rows = servers.checker(TRIPS).rows()?;
    for (_, row) in rows.streams.values().flatten() {
        let row: Value = serde_json::from_slice(row)?;
        let time = |name: &str| row[name].as_i64().context("a time");
        let waited = time("joined_ts")? - time("primary_ts")?;
        // The first partner may be read some milliseconds before the second is sent exactly a second later.
        ensure!(waited >= least - 500, "joined {waited} ms after: {row}");
    }
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn a_left_join_has_rows_without_partners() -> Result<()> {
    let servers = Servers::start()?;
    let mut trips = Trips::open(&servers)?;
    let options = PipelineOptions {
        wait_max: "3s",
        ..PipelineOptions::new(TRIPS)
    };
    let mut pipeline = servers.pipeline(&options)?;
    pipeline.set(ALL, "join.wait.unmatched", "emit");
    pipeline.start_ready(ALL, READY_WITHIN)?;
    for n in 0..WISHES {
        let (wish, deal) = (format!("wish-{n}"), format!("deal-{n}"));
        trips.wish(&wish)?;
        trips.deal(&deal, &wish, 7)?;
        trips.expect_joined(&wish, &deal);
    }
    for n in 0..ALONE {
        let wish = format!("alone-{n}");
        trips.wish(&wish)?;
        trips.expect_unjoinable(&wish);
    }
    trips.flush()?;
    let mut progress = servers.progress(TRIPS)?;
    resolved(&mut progress, &trips)?;
    progress.wait_rows(trips.expected.len() as u64, DONE_WITHIN)?;
    // Too late: the row without partners is as final as one with.
    trips.deal("too late", "alone-0", 7)?;
    trips.wish("alone-0")?;
    trips.flush()?;
    progress.wait_committed(DONE_WITHIN)?;

    let checked = servers.checker(TRIPS).emitting().check(trips.expected)?;
    ensure!(checked.unjoinable == ALONE as u64, "{checked:?}");
    let emit = "join.wait.unmatched=emit";
    let verified = pipeline.rtf("verify", &["--json", "--set", emit])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    let report = verified.json()?;
    ensure!(report["rows"] == WISHES + ALONE, "{report}");
    shown(&pipeline)?;
    pipeline.stop(ALL)
}

/// The page has them too, and says why they have no partner.
fn shown(pipeline: &Pipeline) -> Result<()> {
    let url = format!("{}/api/rows?limit=100", pipeline.web());
    let rows = wait_until("all rows on the page", DONE_WITHIN, || {
        let page: Value = serde_json::from_str(http::get(&url).ok()?.body()).ok()?;
        let rows = page["rows"].as_array()?.clone();
        (rows.len() == WISHES + ALONE).then_some(rows)
    })?;
    let (alone, joined): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row["outcome"] == "unjoinable");
    for row in joined {
        ensure!(row["attempts"].as_u64() >= Some(1), "{row}");
    }
    let mut count = 0;
    for row in alone {
        let is_right = row["reason"] == "timed_out"
            && row["primary"] == json!([])
            && row["primary_ts"].is_null()
            && row["attempts"].as_u64() >= Some(2)
            && row["foreign"]["id"] == row["id"];
        ensure!(is_right, "{row}");
        count += 1;
    }
    ensure!(count == ALONE, "{count} rows without partners");
    Ok(())
}
