//! Retention takes what nobody has read: the dispatcher says what is lost, and joins the rest.

use std::time::Duration;

use anyhow::{Result, ensure};
use rtf_kafka::{Cluster, Sender};
use rtf_synth::{Join, Stream};
use rtf_testing::{Instance, PipelineOptions, Role, Servers, http, wait_until};

const ALL: Instance = Instance(Role::All, 0);
const WITHIN: Duration = Duration::from_secs(60);
const WISHES: Join = Join {
    name: "wishes",
    foreign: Stream::of("wishes", "/key"),
    primary: Stream::of("gifts", "/key"),
    order_by: None,
};

const READ: u64 = 10;
const UNREAD: u64 = 20;
const KEPT: u64 = 5;

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_retention_took_unread_is_counted_and_said() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&WISHES, 1)?;
    let mut pipeline = servers.pipeline(&PipelineOptions::new(WISHES))?;
    let mut progress = servers.progress(WISHES)?;
    let checker = servers.checker(WISHES);
    let sender = Sender::open(checker.settings())?;
    let send = |topic: &str, number: u64| -> Result<()> {
        let value = format!(r#"{{"id":"{topic} {number}","key":"k"}}"#);
        Ok(sender.send(topic, None, None, Some(value.as_bytes()))?)
    };

    send("gifts", 0)?;
    (0..READ).try_for_each(|number| send("wishes", number))?;
    sender.flush(WITHIN)?;
    pipeline.start_ready(ALL, WITHIN)?;
    progress.wait_rows(READ, WITHIN)?;
    pipeline.stop(ALL)?;
    (READ..READ + UNREAD).try_for_each(|number| send("wishes", number))?;
    sender.flush(WITHIN)?;
    let (_, end) = Cluster::connect(checker.settings())?.offsets("wishes", 0)?;
    let kafka = &servers.kafka;
    kafka.delete_records("wishes", &[(0, end - KEPT)])?;

    pipeline.start_ready(ALL, WITHIN)?;
    progress.wait_rows(READ + KEPT, WITHIN)?;
    let health = pipeline.health(ALL);
    let missed = "rtf_dispatcher_missed_total";
    let counted = wait_until("what is missed to be counted", WITHIN, || {
        let records = http::metric(&health, missed, "topic=\"wishes\"").ok()?;
        (records > 0.0).then_some(records)
    })?;
    ensure!(counted == (UNREAD - KEPT) as f64, "{counted}");
    let log = pipeline.process(ALL)?.log()?;
    let said = "retention took records that nobody had read";
    ensure!(log.contains(said) && log.contains("from=10 to=25"), "{log}");
    pipeline.stop(ALL)
}
