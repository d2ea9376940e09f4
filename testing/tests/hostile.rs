//! Hostile input: a hundred thousand records that are no events, in both topics, with garbage in the join log and the retry topics, while good ones flow: every
//! good one is joined once, every bad one ends as malformed once, with its original bytes among the dead letters.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rtf_kafka::{Cluster, Sender};
use rtf_proto::naming;
use rtf_synth::{Join, Stream};
use rtf_testing::{
    Fate, Instance, POISON_KEY, PipelineOptions, Role, Servers, http, seed, wait_until,
};

const PAYMENTS: Join = Join {
    name: "shop",
    foreign: Stream::of("payments", "/order"),
    primary: Stream::of("orders", "/order"),
    order_by: None,
};
const SEED: u64 = 20;
const HOSTILE: u64 = 100_000;
/// A good pair to so many hostile records.
const GOOD_ONE_IN: u64 = 20;
/// One of so many hostile records is as large as Kafka takes, or nested deep.
const LARGE_ONE_IN: u64 = 1_000;
const NESTED_ONE_IN: u64 = 100;
const LARGE_BYTES: usize = 900 * 1024;
const NESTED: usize = 10_000;
/// Garbage in a topic of ours, in all.
const GARBAGE: u32 = 500;

const ALL: Instance = Instance(Role::All, 0);
const READY_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(300);
const FLUSH_WITHIN: Duration = Duration::from_secs(120);

#[test]
#[ignore = "needs real servers: ./test runs it"]
fn each_hostile_record_is_malformed_once_and_each_good_one_joined_once() -> Result<()> {
    let servers = Servers::start()?;
    servers.create_topics(&PAYMENTS, 3)?;
    let mut progress = servers.progress(PAYMENTS)?;
    let mut pipeline = servers.pipeline(&PipelineOptions {
        // What waits is parked, so that there are retry topics.
        wait_max: "10m",
        more_wait: "park_after = \"1s\"\n",
        ..PipelineOptions::new(PAYMENTS)
    })?;
    pipeline.start_ready(ALL, READY_WITHIN)?;
    let mut enemy = Enemy {
        rng: ChaCha8Rng::seed_from_u64(seed(SEED)?),
        sender: Sender::open(servers.checker(PAYMENTS).settings())?,
        expected: Vec::new(),
    };
    let early = enemy.early()?;
    let cluster = Cluster::connect(servers.checker(PAYMENTS).settings())?;
    wait_until("an event is parked", READY_WITHIN, || {
        let topics = retry_topics(&cluster).ok()?;
        (!topics.is_empty()).then_some(())
    })?;
    let begun = Instant::now();
    for number in 0..HOSTILE {
        if number % GOOD_ONE_IN == 0 {
            enemy.good(number)?;
        }
        if number == HOSTILE / 2 {
            enemy.garbage(&cluster)?;
        }
        enemy.bad(number)?;
    }
    enemy.partner(&early)?;
    enemy.sender.flush(FLUSH_WITHIN)?;
    eprintln!("hostile: sent within {:?}", begun.elapsed());

    let good = HOSTILE / GOOD_ONE_IN + 1;
    progress.wait_resolved(HOSTILE + good, DONE_WITHIN)?;
    progress.wait_rows(good, DONE_WITHIN)?;
    progress.wait_committed(DONE_WITHIN)?;
    eprintln!("hostile: resolved within {:?}", begun.elapsed());
    let health = pipeline.health(ALL);
    wait_until("all letters are carried", DONE_WITHIN, || {
        let letters = http::metric(&health, "rtf_publisher_dead_letters_total", "").ok()?;
        (letters >= HOSTILE as f64).then_some(())
    })?;
    eprintln!("hostile: letters carried within {:?}", begun.elapsed());
    let checked = servers.checker(PAYMENTS).check(enemy.expected)?;
    eprintln!("hostile: {checked:?}");
    ensure!(
        (checked.joined, checked.malformed) == (good, HOSTILE),
        "{checked:?}"
    );
    pipeline.wait_ready(ALL, READY_WITHIN)?;
    pipeline.stop(ALL)
}

fn retry_topics(cluster: &Cluster) -> Result<Vec<String>> {
    Ok(cluster.topics(&format!("{}.retry.", PAYMENTS.name))?)
}

struct Enemy {
    rng: ChaCha8Rng,
    sender: Sender,
    expected: Vec<Fate>,
}

impl Enemy {
    /// A pair that must be joined, though its numbers are beyond 64 bits and names stand in it twice.
    fn good(&mut self, number: u64) -> Result<()> {
        let key = format!("98765432109876543210{number}");
        let (payment, order) = (
            format!("123456789012345678901{number}"),
            format!("order {number}"),
        );
        let foreign = format!(r#"{{"order":0,"id":{payment},"order":{key},"sum":1e999}}"#);
        let primary = format!(r#"{{"id":"{order}","order":{key},"sum":-0.1e-400}}"#);
        self.send("payments", foreign.as_bytes())?;
        self.send("orders", primary.as_bytes())?;
        self.expected.push(Fate::Joined {
            id: payment,
            key,
            primary: Some(order),
        });
        Ok(())
    }

    /// An event whose partner comes last of all; says the key.
    fn early(&mut self) -> Result<String> {
        let key = "early".to_owned();
        self.send("payments", br#"{"id":"early","order":"early"}"#)?;
        self.sender.flush(FLUSH_WITHIN)?;
        Ok(key)
    }

    fn partner(&mut self, key: &str) -> Result<()> {
        self.send(
            "orders",
            format!(r#"{{"id":"late","order":"{key}"}}"#).as_bytes(),
        )?;
        self.expected.push(Fate::Joined {
            id: key.into(),
            key: key.into(),
            primary: Some("late".into()),
        });
        Ok(())
    }

    /// A record that is no event, to both topics.
    fn bad(&mut self, number: u64) -> Result<()> {
        let value = self.hostile(number);
        self.send("payments", &value)?;
        self.send("orders", &value)?;
        self.expected.push(Fate::Malformed { value: Some(value) });
        Ok(())
    }

    fn send(&self, topic: &str, value: &[u8]) -> Result<()> {
        Ok(self.sender.send(topic, None, None, Some(value))?)
    }

    fn hostile(&mut self, number: u64) -> Vec<u8> {
        let (id, key) = (format!("\"bad {number}\""), format!("\"bad key {number}\""));
        let with = |note: &[u8]| {
            let head = format!("{{\"id\":{id},\"order\":{key},\"note\":");
            [head.as_bytes(), note, b"}"].concat()
        };
        if number % LARGE_ONE_IN == 1 {
            return with(&[&b"\""[..], &vec![b'x'; LARGE_BYTES], b"\0\""].concat());
        }
        if number % NESTED_ONE_IN == 2 {
            let mut open = "[{\"a\":".repeat(NESTED / 2).into_bytes();
            // Closed but for one, or not at all.
            if self.rng.random_bool(0.5) {
                open.extend(format!("1{}", "}]".repeat(NESTED / 2 - 1)).bytes());
            }
            return with(&open);
        }
        match self.rng.random_range(0..9) {
            // Text cut off within a character.
            0 => with(b"\"\xe2\x9c\""),
            1 => with(&[&b"\""[..], "✈".as_bytes(), b"\xf0\x9f\""].concat()),
            2 => with(b"\"a\0b\""),
            // The last of two names counts, and it is no key.
            3 => format!("{{\"id\":{id},\"order\":{key},\"order\":[{key}]}}").into_bytes(),
            4 => format!("{{\"id\":{id},\"order\":{key},\"id\":null}}").into_bytes(),
            // A number that is none.
            5 => with(format!("{}.{}.1", u64::MAX, self.rng.random::<u64>()).as_bytes()),
            6 => with(b"\"\\ud800\\u0041\\x\""),
            7 => self.noise(),
            _ => self.damaged(with(b"[1,{\"b\":true}]")),
        }
    }

    /// Bytes that do not even begin like JSON.
    fn noise(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.random_range(1..500)];
        self.rng.fill(&mut bytes[..]);
        bytes[0] = *[b'}', b'\0', 0xff, b'<']
            .choose(&mut self.rng)
            .expect("there are four");
        bytes
    }

    /// Some bytes changed, and one bracket closed too often, so that no chance makes it an event.
    fn damaged(&mut self, mut value: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.random_range(1..6) {
            let at = self.rng.random_range(0..value.len());
            value[at] = self.rng.random();
        }
        value.extend(b"]}\"]");
        value
    }

    /// Records that nobody of us wrote, in the topics that are ours.
    fn garbage(&mut self, cluster: &Cluster) -> Result<()> {
        let mut topics = retry_topics(cluster)?;
        topics.push(naming::log_topic(PAYMENTS.name));
        for topic in topics {
            let info = cluster.topic(&topic)?;
            let partitions = info
                .with_context(|| format!("there is no {topic}"))?
                .partitions;
            for number in 0..GARBAGE {
                let value = self.noise();
                let partition = Some(number % partitions);
                self.sender
                    .send(&topic, partition, Some(POISON_KEY), Some(&value))?;
            }
        }
        Ok(())
    }
}
