//! `rtf init` finds out of the data what the examples' configurations say by hand, and says clearly what it cannot work with.

use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};
use rtf_kafka::{Cluster, Sender};
use rtf_testing::{Kafka, KafkaOptions, kafka_settings, rtf_binary, temp_folder};
use std::time::Duration;
use tempfile::TempDir;

struct Desk {
    kafka: Kafka,
    folder: TempDir,
}

impl Desk {
    fn open() -> Result<Self> {
        Ok(Self {
            kafka: Kafka::start(&KafkaOptions::default())?,
            folder: temp_folder("init")?,
        })
    }

    fn rtf(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(rtf_binary()?);
        command.args(words).current_dir(self.folder.path());
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn init(&self, words: &[&str]) -> Result<Output> {
        let kafka = self.kafka.bootstrap();
        self.rtf(&[&["init", "--kafka", kafka.as_str()], words].concat())
    }

    fn synth(&self, words: &str) -> Result<()> {
        let kafka = self.kafka.bootstrap();
        let words: Vec<&str> = words.split(' ').collect();
        let output = self.rtf(&[&["synth"], words.as_slice(), &["--kafka", &kafka]].concat())?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// Demands this exit code, and that the errors say this.
    fn refuses(&self, code: i32, says: &str, words: &[&str]) -> Result<()> {
        let output = self.init(words)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code) && errors.contains(says),
            "{words:?}: {output:?}"
        );
        Ok(())
    }

    /// Has a file written, which must be accepted and have each of these lines.
    fn proposes(&self, foreign: &str, primary: &str, lines: &[&str]) -> Result<()> {
        let file = format!("{foreign}.toml");
        let output = self.init(&["--foreign", foreign, "--primary", primary, "-o", &file])?;
        ensure!(output.status.success(), "{output:?}");
        let text = fs::read_to_string(self.folder.path().join(&file))?;
        for line in lines {
            ensure!(
                text.lines().any(|l| l == *line),
                "{foreign}: no {line} in\n{text}"
            );
        }
        let check = self.rtf(&["config", "check", "-c", &file])?;
        ensure!(check.status.success(), "{check:?}");
        Ok(())
    }
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_the_examples_say_is_found_in_their_data() -> Result<()> {
    let desk = Desk::open()?;
    // More records than are looked at, and in several partitions.
    desk.synth("clicks --count 6000 --fast")?;
    desk.synth("payments --fast")?;
    desk.synth("sensors --fast")?;
    desk.synth("vacation --count 1000 --deals 1000 --fast")?;
    let key = r#"key = ["/query_id"]"#;
    let clicks = [
        r#"id = ["/click_id"]"#,
        r#"id = ["/query_id"]"#,
        key,
        r#"time = "/time""#,
        r#"policy = "first""#,
    ];
    desk.proposes("clicks", "queries", &clicks)?;
    let payments = [
        r#"id = ["/payment_id"]"#,
        r#"id = ["/order_id"]"#,
        r#"key = ["/order_id"]"#,
    ];
    desk.proposes("payments", "orders", &payments)?;
    let readings = [
        r#"id = ["/reading_id"]"#,
        r#"id = ["/calibration_id"]"#,
        r#"key = ["/sensor_id"]"#,
        r#"policy = "latest""#,
    ];
    desk.proposes("readings", "calibrations", &readings)?;
    let tweets = [
        r#"id = ["/id_str"]"#,
        r#"id = ["/id"]"#,
        r#"key = ["/user/location"]"#,
        r#"expires = "/departureTime""#,
    ];
    desk.proposes("tweets", "deals", &tweets)?;

    let of = [
        "--foreign",
        "tweets",
        "--primary",
        "deals",
        "-o",
        "-",
        "--key",
    ];
    let own =
        desk.init(&[of.as_slice(), &["/user/location=/departureAirportLocation"]].concat())?;
    let text = String::from_utf8_lossy(&own.stdout);
    ensure!(
        text.contains(r#"key = ["/departureAirportLocation"]"#),
        "{own:?}"
    );
    ensure!(String::from_utf8_lossy(&own.stderr).contains("foreign records have a partner"));
    // Nothing in common but a flag says so: it is written, with the figure.
    let none = desk.init(&[of.as_slice(), &["/text=/airline"]].concat())?;
    ensure!(
        String::from_utf8_lossy(&none.stderr).contains("no values meet"),
        "{none:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn what_cannot_be_worked_with_is_said() -> Result<()> {
    let desk = Desk::open()?;
    let settings = kafka_settings(&desk.kafka.bootstrap());
    let cluster = Cluster::connect(&settings)?;
    for topic in ["empty", "bytes", "orders", "plain"] {
        cluster.ensure_topic(topic, 2, None, &[])?;
    }
    let sender = Sender::open(&settings)?;
    for n in 0..30 {
        sender.send("bytes", None, None, Some(&[0xff, 0x00, n]))?;
        // No field with a value of its own, and bad bytes between.
        sender.send(
            "plain",
            None,
            Some(b"\xff"),
            Some(format!(r#"{{"kind":"a","n":{}}}"#, n % 2).as_bytes()),
        )?;
        sender.send("plain", None, None, Some(b"\xc3\x28"))?;
        sender.send(
            "orders",
            None,
            None,
            Some(format!(r#"{{"order_id":"o{n}","kind":"a"}}"#).as_bytes()),
        )?;
    }
    sender.flush(Duration::from_secs(30))?;

    desk.refuses(
        1,
        "is empty",
        &["--foreign", "empty", "--primary", "orders"],
    )?;
    desk.refuses(
        1,
        "has a JSON object as its value",
        &["--foreign", "bytes", "--primary", "orders"],
    )?;
    desk.refuses(
        64,
        "there is no such topic; there are bytes, empty, orders, plain",
        &["--foreign", "order", "--primary", "orders"],
    )?;
    desk.refuses(64, "--foreign TOPIC is missing", &[])?;
    desk.refuses(64, "expected two fields", &["--key", "/a"])?;

    let plain = ["--foreign", "plain", "--primary", "orders"];
    let written = desk.init(&plain)?;
    let said = String::from_utf8_lossy(&written.stdout).into_owned();
    ensure!(
        written.status.success() && said.contains("position is the id"),
        "{written:?}"
    );
    ensure!(said.contains("are no JSON objects, such as"), "{said}");
    let file = desk.folder.path().join("rtf.toml");
    let text = fs::read_to_string(&file)?;
    ensure!(
        text.contains("id = []") && text.contains(r#"id = ["/order_id"]"#),
        "{text}"
    );

    fs::write(&file, "mine")?;
    desk.refuses(64, "is there already", &plain)?;
    ensure!(fs::read_to_string(&file)? == "mine");
    ensure!(
        desk.init(&[plain.as_slice(), &["--force"]].concat())?
            .status
            .success()
    );
    ensure!(fs::read_to_string(&file)? != "mine");

    let silent = desk.rtf(&[
        "init",
        "--kafka",
        "127.0.0.1:1",
        "--foreign",
        "a",
        "--primary",
        "b",
        "-o",
        "x.toml",
    ])?;
    ensure!(silent.status.code() == Some(1), "{silent:?}");
    Ok(())
}
