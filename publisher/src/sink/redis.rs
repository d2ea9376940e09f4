//! The Redis sink: one stream per partition, appended to by a script that compares first (RULES 21–23).
//!
//! Its answers are not trusted: each names its stream and the number of its call. After any error the connection is
//! given up, since nobody knows what still comes out of it. Which server has a stream is `rtf_redis`'s to know.

use super::{AppendOutcome, GIVE_WAY, Place, Row, Sink, SinkError};
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Script, ServerErrorKind};
use rtf_proto::naming::{redis_log_key, redis_partitions_key, redis_stream};
use rtf_proto::{Offset, PartitionId};
use rtf_redis::{Connection, Connections, Limits, Redis};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Sets a number unless it is larger already.
const RAISE: &str = "if tonumber(redis.call('GET', KEYS[1]) or 0) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end";
/// Arguments of the script before the rows.
const FIXED_ARGUMENTS: usize = 9;
/// Bytes of a command beside its rows, and of each row's id, about.
const FRAME_BYTES: usize = 256;
const ID_BYTES: usize = 22;

/// What is written there, and within which bounds.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `join.name`, the prefix of the keys.
    pub name: String,
    /// Rows kept in each partition, about; 0 keeps all.
    pub max_rows: u64,
    /// Every call must be answered within this.
    pub call_timeout: Duration,
}

/// Streams in Redis, over one connection to each server that all its partitions share.
pub struct RedisSink {
    options: RedisOptions,
    connections: Connections,
    script: Script,
    announcement: Script,
    calls: AtomicU64,
}

/// The script's answer: stream, call, what happened, last id, log.
type Answer = (String, u64, String, String, String);

/// What the script found, checked.
struct Found {
    appended: bool,
    last: Option<Offset>,
}

impl RedisSink {
    /// A sink that connects with its first call.
    pub fn new(redis: Redis, options: RedisOptions) -> Self {
        let limits = Limits {
            connect: options.call_timeout,
            answer: Some(options.call_timeout),
        };
        Self {
            options,
            connections: Connections::new(redis, limits),
            script: Script::new(include_str!("append.lua")),
            announcement: Script::new(RAISE),
            calls: AtomicU64::new(0),
        }
    }

    async fn call(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<Found, SinkError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let stream = redis_stream(&self.options.name, place.partition);
        let command = self.command(place, call, expected_last, rows);
        let mut connection = self.connect(&stream).await?;
        let found = match self.evaluate(&mut connection.redis, &command).await {
            Ok(answer) => self.check(place, call, answer),
            Err(error) => Err(self.failure(place, &connection, &error)),
        };
        if matches!(found, Err(SinkError::Unavailable(_))) {
            self.connections.give_up(&connection).await;
        }
        found
    }

    fn command(&self, place: Place, call: u64, expected_last: Option<Offset>, rows: &[Row]) -> Cmd {
        let bytes: usize = rows.iter().map(|row| row.payload.len() + ID_BYTES).sum();
        let mut command = Cmd::with_capacity(FIXED_ARGUMENTS + 2 * rows.len(), FRAME_BYTES + bytes);
        command
            .arg("EVALSHA")
            .arg(self.script.get_hash())
            .arg(2)
            .arg(redis_stream(&self.options.name, place.partition))
            .arg(redis_log_key(&self.options.name, place.partition))
            .arg(call)
            .arg(place.log.to_string())
            .arg(expected_last.map(entry_id).unwrap_or_default())
            .arg(self.options.max_rows);
        for row in rows {
            command.arg(entry_id(row.offset)).arg(row.payload.as_ref());
        }
        command
    }

    /// Runs the script, and loads it where Redis does not know it yet.
    async fn evaluate(
        &self,
        redis: &mut MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Answer, RedisError> {
        match command.query_async(redis).await {
            Err(e) if e.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(redis).await?;
                command.query_async(redis).await
            }
            answer => answer,
        }
    }

    fn check(&self, place: Place, call: u64, answer: Answer) -> Result<Found, SinkError> {
        let (stream, answered, state, last, log) = answer;
        if stream != redis_stream(&self.options.name, place.partition) || answered != call {
            let words = format!("call {call} got the answer to call {answered} about {stream}");
            return Err(SinkError::Unavailable(words));
        }
        if state == "other" {
            return Err(self.other_log(place, log));
        }
        Ok(Found {
            appended: state == "appended",
            last: self.offset(place, &last)?,
        })
    }

    fn other_log(&self, place: Place, log: String) -> SinkError {
        let key = redis_log_key(&self.options.name, place.partition);
        SinkError::OtherLog {
            subject: self.subject(place.partition),
            found: if log.is_empty() {
                format!("that nobody knows ({key} is missing)")
            } else {
                log
            },
            expected: place.log,
            remedy: self.remedy(place.partition),
        }
    }

    fn offset(&self, place: Place, id: &str) -> Result<Option<Offset>, SinkError> {
        if id.is_empty() {
            return Ok(None);
        }
        let offset = id.strip_suffix("-0").and_then(|text| text.parse().ok());
        let foreign = || {
            self.not_ours(
                place,
                format!("its last entry id {id} is no offset of a log"),
            )
        };
        offset.map(Some).ok_or_else(foreign)
    }

    fn not_ours(&self, place: Place, words: String) -> SinkError {
        SinkError::NotOurs {
            subject: self.subject(place.partition),
            words,
            remedy: self.remedy(place.partition),
        }
    }

    fn failure(&self, place: Place, connection: &Connection, error: &RedisError) -> SinkError {
        if error.to_string().contains("WRONGTYPE") {
            return self.not_ours(place, "a key of it holds another type".into());
        }
        unavailable(connection, error)
    }

    async fn connect(&self, key: &str) -> Result<Connection, SinkError> {
        let connected = self.connections.of(key).await;
        connected.map_err(|error| SinkError::Unavailable(error.to_string()))
    }
}

/// Names the address, without the password that the URL may hold.
fn unavailable(connection: &Connection, error: &RedisError) -> SinkError {
    SinkError::Unavailable(format!("Redis at {}: {error}", connection.address()))
}

fn entry_id(offset: Offset) -> String {
    format!("{offset}-0")
}

#[async_trait]
impl Sink for RedisSink {
    async fn announce(&self, partitions: u32) -> Result<(), SinkError> {
        let key = redis_partitions_key(&self.options.name);
        let mut connection = self.connect(&key).await?;
        let said = self
            .announcement
            .key(key)
            .arg(partitions)
            .invoke_async::<()>(&mut connection.redis)
            .await;
        if said.is_err() {
            self.connections.give_up(&connection).await;
        }
        said.map_err(|error| unavailable(&connection, &error))
    }

    async fn last(&self, place: Place) -> Result<Option<Offset>, SinkError> {
        Ok(self.call(place, None, &[]).await?.last)
    }

    async fn append(
        &self,
        place: Place,
        expected_last: Option<Offset>,
        rows: &[Row],
    ) -> Result<AppendOutcome, SinkError> {
        let found = self.call(place, expected_last, rows).await?;
        match found.last {
            Some(last) if found.appended => Ok(AppendOutcome::Appended { last }),
            last => Ok(AppendOutcome::Moved { last }),
        }
    }

    fn give_way(&self) -> Duration {
        GIVE_WAY
    }

    fn subject(&self, partition: PartitionId) -> String {
        format!("stream {}", redis_stream(&self.options.name, partition))
    }

    fn remedy(&self, partition: PartitionId) -> String {
        let name = &self.options.name;
        format!(
            "delete it (DEL {} {}) or use another join.name",
            redis_stream(name, partition),
            redis_log_key(name, partition)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::cluster_routing::Slot;
    use redis::{Client, FromRedisValue};
    use rtf_fuzz::fuzz;
    use rtf_proto::TopicId;

    const PLACE: Place = Place {
        log: TopicId([1; 16]),
        partition: 3,
    };
    const CALL: u64 = 7;

    /// In a cluster a script may only touch what is in one slot. The names are those of a single server too.
    #[test]
    fn the_keys_of_a_call_are_in_one_slot() {
        for partition in 0..4096 {
            let (stream, log) = (
                redis_stream("a.b-c", partition),
                redis_log_key("a.b-c", partition),
            );
            assert_eq!(Slot::for_key(stream), Slot::for_key(log), "{partition}");
        }
    }

    /// Any bytes from the server: only this call's answer about this stream is believed, and only an offset is taken for one.
    #[test]
    fn fuzz_replies() {
        let client = Client::open("redis://127.0.0.1:1").expect("it is an address");
        let options = RedisOptions {
            name: "clicks".into(),
            max_rows: 0,
            call_timeout: Duration::from_secs(1),
        };
        let sink = RedisSink::new(client.into(), options);
        let stream = redis_stream("clicks", PLACE.partition);
        let reply = |stream: &str, call: u64, state: &str, last: &str, log: &str| {
            let text = |text: &str| format!("${}\r\n{text}\r\n", text.len());
            let parts = [
                text(stream),
                format!(":{call}\r\n"),
                text(state),
                text(last),
                text(log),
            ];
            format!("*5\r\n{}", parts.concat()).into_bytes()
        };
        let replies = [
            reply(&stream, CALL, "appended", "123-0", ""),
            reply(&stream, CALL, "moved", "", ""),
            reply(&stream, CALL, "other", "5-0", "AQEBAQEBAQEBAQEBAQEBAQ"),
            reply(&stream, CALL - 1, "appended", "122-0", ""),
            reply("another", CALL, "appended", "122-1", ""),
            b"-OOM command not allowed\r\n".to_vec(),
            b"+QUEUED\r\n".to_vec(),
            b"_\r\n".to_vec(),
        ];
        let replies: Vec<&[u8]> = replies.iter().map(Vec::as_slice).collect();
        fuzz("reply", &replies, |input| {
            let Ok(value) = redis::parse_redis_value(input) else {
                return;
            };
            let Ok(answer) = Answer::from_redis_value(value) else {
                return;
            };
            let (of, call, state, last, _) = answer.clone();
            let Ok(found) = sink.check(PLACE, CALL, answer) else {
                return;
            };
            assert_eq!((of.as_str(), call), (stream.as_str(), CALL));
            assert_eq!(found.appended, state == "appended");
            let offset = last.strip_suffix("-0").and_then(|text| text.parse().ok());
            assert_eq!(found.last, offset, "{last}");
            assert!(found.last.is_some() || last.is_empty(), "{last}");
        });
    }
}
