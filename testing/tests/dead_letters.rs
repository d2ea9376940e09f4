//! Dead letters: each event that was given up or could not be read is once in the topic for who reads committed records, whatever happens to the
//! publishers; and what is sent again from there is joined once.

use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_kafka::{Cluster, Sender};
use rtf_proto::naming;
use rtf_synth::{CLICKS, ClicksParams, Expected, Join, Share, Stream};
use rtf_testing::{
    Fate, Instance, Pipeline, PipelineOptions, Progress, Role, Scene, Servers, pause, wait_until,
};

const ALL: Instance = Instance(Role::All, 0);
const PUBLISHERS: [Instance; 2] = [Instance(Role::Publisher, 0), Instance(Role::Publisher, 1)];
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(90);
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
/// Longer than a transaction may stay open and than a standby waits.
const FROZEN: Duration = Duration::from_secs(13);
const NO_SUCH_GROUP: &str = "GroupIdNotFoundException";
const GROUP_TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn letters_are_written_once_though_publishers_die_freeze_and_are_two() -> Result<()> {
    let options = PipelineOptions {
        wait_max: "2s",
        is_cluster: true,
        ..PipelineOptions::new(CLICKS)
    };
    let clicks = ClicksParams {
        seed: 7,
        count: 40_000,
        per_second: 800.try_into()?,
        late: Share::NONE,
        orphans: Share::per_thousand(300),
        malformed: Share::per_thousand(100),
        ..ClicksParams::default()
    };
    let mut scene = Scene::open(&options, clicks)?;
    let others = Role::EACH.map(|role| Instance(role, 0));
    scene.pipeline.start_all(&others, READY_WITHIN)?;
    let load = scene.load()?;
    scene.pipeline.start_ready(PUBLISHERS[1], READY_WITHIN)?;
    for round in 0..6 {
        let victim = PUBLISHERS[round % 2];
        pause(Duration::from_millis(1500 + 700 * round as u64));
        scene.pipeline.kill9(victim)?;
        scene.pipeline.start(victim)?;
    }
    // A zombie comes back after somebody took over, and another while nobody could.
    for publisher in PUBLISHERS {
        scene.pipeline.process(publisher)?.sigstop()?;
        pause(FROZEN);
        scene.pipeline.process(publisher)?.sigcont()?;
    }
    scene.servers.kafka.kill9()?;
    scene.servers.kafka.restart()?;
    let tally = load.finish()?;
    scene.drained(&tally)?;
    let checked = scene.check()?;
    eprintln!("dead letters: {checked:?}");
    ensure!(
        checked.unjoinable > 10_000 && checked.malformed > 3_000,
        "{checked:?}"
    );

    // Without the group's positions the topic itself says how far it is.
    for publisher in PUBLISHERS {
        scene.pipeline.stop(publisher)?;
    }
    let group = naming::dead_letter_group(CLICKS.name);
    let delete = ["--delete", "--group", &group];
    // A group is there only once some partition went on without letters.
    let said = scene.servers.kafka.tool(GROUP_TOOL, &delete, "")?;
    ensure!(
        said.contains("successful") || said.contains(NO_SUCH_GROUP),
        "{said}"
    );
    let sender = Sender::open(scene.checker.settings())?;
    let more: Vec<Vec<u8>> = (0..100)
        .map(|n| format!("no JSON {n}").into_bytes())
        .collect();
    for value in &more {
        sender.send(CLICKS.foreign.topic, None, None, Some(value))?;
    }
    sender.flush(FLUSH_WITHIN)?;
    scene
        .progress
        .wait_resolved(tally.accepted() + more.len() as u64, DONE_WITHIN)?;
    scene.pipeline.start_ready(PUBLISHERS[0], READY_WITHIN)?;
    let expected = scene.clicks.expected().map(Fate::from);
    let more = more
        .into_iter()
        .map(|value| Fate::from(Expected::Malformed { value }));
    let checked = scene.checker.check(expected.chain(more))?;
    scene.progress.wait_committed(DONE_WITHIN)?;
    let verified = scene.pipeline.rtf("verify", &["--json"])?.done()?;
    ensure!(
        verified["letters"] == checked.unjoinable + checked.malformed
            && verified["letters_unpublished"] == 0,
        "{verified}"
    );
    Ok(())
}

const AGAIN: Join = Join {
    name: "again",
    foreign: Stream::of("wishes", "/key"),
    primary: Stream::of("gifts", "/key"),
    order_by: None,
};

/// Events that come too early, and records that are none.
const EARLY: u64 = 20;
const BAD: u64 = 3;

struct Wishes {
    servers: Servers,
    pipeline: Pipeline,
    progress: Progress,
    sender: Sender,
}

impl Wishes {
    fn open() -> Result<Self> {
        let servers = Servers::start()?;
        servers.create_topics(&AGAIN, 3)?;
        let mut pipeline = servers.pipeline(&PipelineOptions {
            wait_max: "1s",
            ..PipelineOptions::new(AGAIN)
        })?;
        pipeline.start_ready(ALL, READY_WITHIN)?;
        Ok(Self {
            progress: servers.progress(AGAIN)?,
            sender: Sender::open(servers.checker(AGAIN).settings())?,
            servers,
            pipeline,
        })
    }

    fn send(&self, topic: &str, number: u64) -> Result<()> {
        let value = format!(r#"{{"id":"{topic} {number}","key":"k{number}"}}"#);
        Ok(self
            .sender
            .send(topic, None, None, Some(value.as_bytes()))?)
    }

    fn dlq(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        self.pipeline
            .rtf("dlq", &[arguments, &["--json"]].concat())?
            .done()
    }

    /// Records of the foreign topic.
    fn sent(&self) -> Result<u64> {
        let cluster = Cluster::connect(self.servers.checker(AGAIN).settings())?;
        let ends = (0..3).map(|p| Ok(cluster.offsets(AGAIN.foreign.topic, p)?.1));
        ends.sum()
    }
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_is_sent_again_is_joined_once() -> Result<()> {
    let mut wishes = Wishes::open()?;
    for number in 0..EARLY {
        wishes.send("wishes", number)?;
    }
    for _ in 0..BAD {
        wishes
            .sender
            .send("wishes", None, Some(b"k"), Some(b"{\"id\":"))?;
    }
    wishes.sender.flush(FLUSH_WITHIN)?;
    wishes.progress.wait_resolved(EARLY + BAD, DONE_WITHIN)?;
    wait_until("the letters", DONE_WITHIN, || {
        let found = wishes.dlq(&["list"]).ok()?;
        (found["count"] == EARLY + BAD).then_some(())
    })?;
    let timed_out = wishes.dlq(&[
        "list",
        "--reason",
        "timed_out",
        "--since",
        "1h",
        "--limit",
        "5",
    ])?;
    ensure!(timed_out["count"] == EARLY, "{timed_out}");
    ensure!(
        timed_out["letters"]
            .as_array()
            .is_some_and(|all| all.len() == 5),
        "{timed_out}"
    );
    let shown = wishes.pipeline.rtf("dlq", &["show", "wishes 7"])?;
    ensure!(
        shown.code() == 0 && shown.output.contains(r#"{"id":"wishes 7","key":"k7"}"#),
        "{shown:?}"
    );
    ensure!(
        wishes.pipeline.rtf("dlq", &["show", "nobody"])?.code() == 1,
        "nobody is shown"
    );

    // The gifts have come; a dry run changes nothing, and all letters are not sent by accident.
    for number in 0..EARLY {
        wishes.send("gifts", number)?;
    }
    wishes.sender.flush(FLUSH_WITHIN)?;
    let sent = wishes.sent()?;
    let replay = ["replay", "--reason", "timed_out"];
    let dry = wishes.dlq(&replay)?;
    ensure!(dry["letters"] == EARLY && dry["executed"] == false, "{dry}");
    ensure!(
        wishes.pipeline.rtf("dlq", &["replay", "--execute"])?.code() == 64,
        "all were sent"
    );
    ensure!(wishes.sent()? == sent, "a dry run sent something");

    for _ in 0..2 {
        let done = wishes.dlq(&[&replay[..], &["--execute"]].concat())?;
        ensure!(
            done["letters"] == EARLY && done["executed"] == true,
            "{done}"
        );
    }
    ensure!(wishes.sent()? == sent + 2 * EARLY, "{}", wishes.sent()?);
    wishes.progress.wait_rows(EARLY, DONE_WITHIN)?;
    wishes.progress.wait_committed(DONE_WITHIN)?;

    let wished = (0..EARLY).flat_map(|number| {
        let (id, key) = (format!("wishes {number}"), format!("k{number}"));
        let again = Fate::Joined {
            id: format!("{id}~again-1"),
            key: key.clone(),
            primary: Some(format!("gifts {number}")),
        };
        [Fate::Unjoinable { id, key }, again]
    });
    let bad = (0..BAD).map(|_| Fate::Malformed {
        value: Some(b"{\"id\":".to_vec()),
    });
    let checked = wishes.servers.checker(AGAIN).check(wished.chain(bad))?;
    ensure!(checked.joined == EARLY, "{checked:?}");
    let verified = wishes.pipeline.rtf("verify", &["--json"])?.done()?;
    ensure!(
        verified["joined"] == EARLY && verified["letters"] == EARLY + BAD,
        "{verified}"
    );
    let row = wishes
        .pipeline
        .rtf("lookup", &["wishes 3~again-1", "--json"])?
        .done()?;
    ensure!(row["outcome"] == "joined", "{row}");
    wishes.pipeline.stop(ALL)
}
