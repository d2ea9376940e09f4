//! Ids and keys that stand beside the value: in Kafka's message key and in headers, mixed with pointers, some of them into arrays.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rtf_kafka::Sender;
use rtf_proto::{Header, Original};
use rtf_synth::{Join, Stream};
use rtf_testing::{Fate, Instance, PipelineOptions, Role, Servers, http};
use serde_json::json;

/// Spans of requests and the traces they are part of. Trace numbers are text in the spans' message keys and headers, numbers in the
/// traces' values.
const TRACES: Join = Join {
    name: "traces",
    foreign: Stream {
        topic: "spans",
        id: "@header.span-id",
        key: "@key /legs/0/from",
        time: Some("@timestamp"),
        expires: None,
    },
    primary: Stream {
        topic: "traces",
        id: "@key",
        key: "/trace @header.from",
        time: Some("@header.at"),
        expires: None,
    },
    order_by: None,
};
const ALL: Instance = Instance(Role::All, 0);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(90);
const FLUSH_WITHIN: Duration = Duration::from_secs(30);
const GOOD: u32 = 200;

fn header(name: &str, value: impl Into<Bytes>) -> Header {
    (name.into(), Some(value.into()))
}

struct Traces {
    sender: Sender,
    expected: Vec<Fate>,
    bad_primaries: u64,
}

impl Traces {
    fn send(
        &self,
        topic: &str,
        key: Option<Bytes>,
        value: Option<String>,
        headers: Vec<Header>,
    ) -> Result<()> {
        let original = Original {
            key,
            value: value.map(Bytes::from),
            headers,
        };
        Ok(self.sender.send_original(topic, None, &original, None)?)
    }

    fn span(&self, span: &str, trace: u32, from: &str) -> Result<()> {
        // Of two headers with one name the last one counts.
        let headers = vec![
            header("span-id", "not this one"),
            header("span-id", span.to_owned()),
        ];
        let value = json!({"legs": [{"from": from}, {"from": "elsewhere"}], "span": span});
        let key = Some(trace.to_string().into());
        self.send("spans", key, Some(value.to_string()), headers)
    }

    fn trace(&self, id: &str, trace: u32, from: &str) -> Result<()> {
        let value = json!({"trace": trace, "name": id}).to_string();
        let headers = vec![
            header("from", from.to_owned()),
            header("at", "1539202764000"),
        ];
        self.send("traces", Some(id.to_owned().into()), Some(value), headers)
    }

    fn expect_joined(&mut self, span: &str, trace: u32, from: &str, partner: &str) {
        self.expected.push(Fate::Joined {
            id: span.into(),
            key: json!([trace.to_string(), from]).to_string(),
            primary: Some(partner.into()),
        });
    }

    fn expect_unjoinable(&mut self, span: &str, trace: u32, from: &str) {
        self.expected.push(Fate::Unjoinable {
            id: span.into(),
            key: json!([trace.to_string(), from]).to_string(),
        });
    }

    fn pair(&mut self, number: u32, is_late: bool) -> Result<()> {
        let (span, id) = (format!("span-{number}"), format!("trace-{number}"));
        if is_late {
            self.span(&span, number, "AUS")?;
            self.trace(&id, number, "AUS")?;
        } else {
            self.trace(&id, number, "AUS")?;
            self.span(&span, number, "AUS")?;
        }
        self.expect_joined(&span, number, "AUS", &id);
        Ok(())
    }

    /// Traces that were deleted or changed under the id in their message key.
    fn deleted_and_changed(&mut self) -> Result<()> {
        self.trace("deleted", 1001, "AUS")?;
        self.send("traces", Some("deleted".into()), None, vec![])?;
        self.span("of a deleted one", 1001, "AUS")?;
        self.expect_unjoinable("of a deleted one", 1001, "AUS");
        self.trace("changed", 1002, "AUS")?;
        self.trace("changed", 1003, "LAX")?;
        self.span("of its old key", 1002, "AUS")?;
        self.expect_unjoinable("of its old key", 1002, "AUS");
        self.span("of its new key", 1003, "LAX")?;
        self.expect_joined("of its new key", 1003, "LAX", "changed");
        Ok(())
    }

    fn bad_spans(&mut self) -> Result<()> {
        let good_key = Some(Bytes::from("7"));
        let good = || vec![header("span-id", "bad")];
        let not_text = Bytes::from_static(b"7\xff");
        let cases: [(Option<Bytes>, Vec<Header>); 10] = [
            (None, good()),
            (Some("".into()), good()),
            (Some(not_text.clone()), good()),
            (good_key.clone(), vec![]),
            (good_key.clone(), vec![header("Span-Id", "bad")]),
            (good_key.clone(), vec![("span-id".into(), None)]),
            (good_key.clone(), vec![header("span-id", "")]),
            (good_key.clone(), vec![header("span-id", not_text)]),
            (good_key.clone(), vec![header("span-id", "i".repeat(2_000))]),
            (
                good_key.clone(),
                vec![header("span-id", "bad"), ("span-id".into(), None)],
            ),
        ];
        for (number, (key, headers)) in cases.into_iter().enumerate() {
            let value = json!({"legs": [{"from": "AUS"}], "bad": number}).to_string();
            self.send("spans", key, Some(value.clone()), headers)?;
            let value = Some(value.into_bytes());
            self.expected.push(Fate::Malformed { value });
        }
        let no_leg = r#"{"legs":[]}"#;
        self.send("spans", good_key.clone(), Some(no_leg.into()), good())?;
        let value = Some(no_leg.as_bytes().to_vec());
        self.expected.push(Fate::Malformed { value });
        self.send("spans", good_key, None, good())?;
        self.expected.push(Fate::Malformed { value: None });
        Ok(())
    }

    /// Of the key that the bad spans would have, if somebody took them for good.
    fn bad_traces(&mut self) -> Result<()> {
        let not_text = Bytes::from_static(b"trace\xff");
        let from = || header("from", "AUS");
        let at = || header("at", "1");
        let cases: [(Option<Bytes>, Vec<Header>); 6] = [
            (None, vec![from(), at()]),
            (Some(not_text.clone()), vec![from(), at()]),
            (Some("t".into()), vec![at()]),
            (Some("t".into()), vec![("from".into(), None), at()]),
            (Some("t".into()), vec![header("from", not_text), at()]),
            (Some("t".into()), vec![from(), header("at", "soon")]),
        ];
        for (key, headers) in cases {
            self.send("traces", key, Some(r#"{"trace":7}"#.into()), headers)?;
            self.bad_primaries += 1;
        }
        // It deletes nothing: there is no key for what.
        self.send("traces", None, None, vec![from()])?;
        self.bad_primaries += 1;
        self.span("of bad ones only", 7, "AUS")?;
        self.expect_unjoinable("of bad ones only", 7, "AUS");
        Ok(())
    }

    fn joined(&self) -> u64 {
        let is_joined = |fate: &&Fate| matches!(fate, Fate::Joined { .. });
        self.expected.iter().filter(is_joined).count() as u64
    }
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn message_keys_and_headers_are_ids_and_keys() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&TRACES, 3)?;
    let mut traces = Traces {
        sender: Sender::open(servers.checker(TRACES).settings())?,
        expected: Vec::new(),
        bad_primaries: 0,
    };
    // Before anybody reads, so that no span sees what is deleted and changed behind it.
    traces.deleted_and_changed()?;
    traces.sender.flush(FLUSH_WITHIN)?;
    let mut pipeline = servers.pipeline(&PipelineOptions::new(TRACES))?;
    pipeline.start_ready(ALL, READY_WITHIN)?;
    for number in 2000..2000 + GOOD {
        traces.pair(number, number % 3 == 0)?;
    }
    traces.bad_spans()?;
    traces.bad_traces()?;
    traces.pair(3000, true)?;
    traces.sender.flush(FLUSH_WITHIN)?;

    let mut progress = servers.progress(TRACES)?;
    progress.wait_resolved(traces.expected.len() as u64, DONE_WITHIN)?;
    progress.wait_rows(traces.joined(), DONE_WITHIN)?;
    progress.wait_committed(DONE_WITHIN)?;
    let checked = servers.checker(TRACES).check(traces.expected)?;
    eprintln!("keys: {checked:?}");
    let verified = pipeline.rtf("verify", &["--json"])?;
    ensure!(verified.code() == 0, "rtf verify: {}", verified.output);
    let report = verified.json()?;
    for (name, number) in [
        ("joined", checked.joined),
        ("unjoinable", checked.unjoinable),
        ("malformed", checked.malformed),
        ("lost", 0),
        ("duplicated", 0),
    ] {
        ensure!(report[name] == number, "{name}: {report}");
    }
    let passed_over = http::metric(&pipeline.health(ALL), "rtf_joiner_malformed_total", "")?;
    ensure!(
        passed_over == traces.bad_primaries as f64,
        "{passed_over} primaries were passed over, not {}",
        traces.bad_primaries
    );
    let found = pipeline.rtf("lookup", &["span-2000", "--json"])?.done()?;
    let time = found["row"]["primary_ts"].as_i64();
    ensure!(time == Some(1_539_202_764_000), "{found}");
    let place = found["source"]["partition"]
        .as_u64()
        .zip(found["source"]["offset"].as_u64());
    let (partition, offset) = place.context("a source")?;
    let by_place = pipeline.rtf(
        "lookup",
        &[&format!("spans/{partition}/{offset}"), "--json"],
    )?;
    ensure!(by_place.done()?["id"] == "span-2000", "{}", by_place.output);
    pipeline.stop(ALL)
}
