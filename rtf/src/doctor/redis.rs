//! Whether Redis is there, keeps what it is given, and allows what is done with it.

use super::because;
use super::clock::APART_MS;
use super::finding::Finding;
use crate::{human, redis_client};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use rtf_config::{Config, RedisKind};
use rtf_proto::naming::{redis_log_key, redis_partitions_key, redis_stream};
use rtf_redis::{Connection, Connections, Error};
use std::collections::HashMap;

/// Streams came with it.
const OLDEST_MAJOR: u32 = 5;
/// Access lists did.
const GOOD_MAJOR: u32 = 6;

/// What a user needs, as an access list has it.
const COMMANDS: &str =
    "+evalsha +script|load +xadd +xtrim +xrange +xrevrange +xread +xinfo|stream +exists +get +set";

/// Asks it, each question with a time-out: the server, the primary that Sentinels name, or all primaries of a cluster.
pub async fn check(config: &Config) -> Vec<Finding> {
    let connections = match redis_client::connections(config) {
        Ok(connections) => connections,
        Err(error) => return vec![unreached(&because(error))],
    };
    let servers = match connections.all().await {
        Ok(servers) => servers,
        Err(error) => return vec![unreached(&error.to_string())],
    };
    let mut findings = Vec::new();
    for server in servers {
        findings.extend(server_findings(config, server).await);
    }
    if config.redis.kind == RedisKind::Cluster {
        findings.push(served(config, &connections).await);
    }
    findings
}

async fn server_findings(config: &Config, server: Result<Connection, Error>) -> Vec<Finding> {
    let connection = match server {
        Ok(connection) => connection,
        Err(error) => return vec![unreached(&error.to_string())],
    };
    let address = connection.address().to_owned();
    let mut asking = Asking { connection };
    let mut findings = asking.all(config).await;
    if config.redis.kind != RedisKind::Single {
        for finding in &mut findings {
            finding.words = format!("{address}: {}", finding.words);
        }
    }
    findings
}

fn unreached(error: &str) -> Finding {
    Finding::fail("Redis", error, redis_client::advice(error))
}

/// Whether each stream of the join has a node that takes its rows.
async fn served(config: &Config, connections: &Connections) -> Finding {
    let name = &config.join.name;
    for partition in 0..config.registry.partitions {
        if let Err(error) = connections.of(&redis_stream(name, partition)).await {
            let error = error.to_string();
            return Finding::fail("Redis Cluster", &error, redis_client::advice(&error));
        }
    }
    Finding::ok("Redis Cluster", format!("all streams of {name} are served"))
}

struct Asking {
    connection: Connection,
}

impl Asking {
    async fn all(&mut self, config: &Config) -> Vec<Finding> {
        let info = match self.ask::<String>(&cmd("INFO")).await {
            Ok(info) => info,
            Err(error) if is_refused(&error) => {
                let mut findings = vec![Finding::warn(
                    "Redis",
                    "answers, but not to INFO: version, memory and persistence cannot be told",
                    "grant +info to see them here",
                )];
                findings.push(self.rights(config).await);
                return findings;
            }
            Err(error) => return vec![Finding::fail("Redis", error, "is it well?")],
        };
        let info = fields(&info);
        let mut findings = vec![version(&info)];
        findings.extend(kind(&info, config.redis.kind));
        findings.extend(role(&info));
        findings.push(memory(&info));
        findings.push(persistence(&info, self.saves().await));
        findings.push(self.rights(config).await);
        findings.push(self.clock().await);
        findings
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        command.query_async(&mut self.connection.redis).await
    }

    /// When snapshots are made, in Redis's words; `None` where nobody may ask.
    async fn saves(&mut self) -> Option<String> {
        let mut get = cmd("CONFIG");
        get.arg("GET").arg("save");
        let answer: HashMap<String, String> = self.ask(&get).await.ok()?;
        answer.get("save").cloned()
    }

    /// Asked without doing it where Redis knows how (7.0), else by a script that only looks.
    async fn rights(&mut self, config: &Config) -> Finding {
        let name = &config.join.name;
        let (stream, log) = (redis_stream(name, 0), redis_log_key(name, 0));
        let mut whoami = cmd("ACL");
        whoami.arg("WHOAMI");
        if let Ok(user) = self.ask::<String>(&whoami).await
            && let Some(finding) = self.dry_run(&user, name, &stream, &log).await
        {
            return finding;
        }
        // There is no such script: that it is not found says that it might have been run; so does that another node has the stream.
        let mut run = cmd("EVALSHA");
        run.arg("0").arg(1).arg(&stream);
        match self.ask::<Value>(&run).await {
            Err(error) if !is_allowed(&error) => denied(name, &error.to_string()),
            _ => Finding::ok(
                "Redis rights",
                format!("scripts may run on {stream}; what they may do there cannot be asked here"),
            ),
        }
    }

    /// `None` where it cannot be asked.
    async fn dry_run(
        &mut self,
        user: &str,
        name: &str,
        stream: &str,
        log: &str,
    ) -> Option<Finding> {
        let partitions = redis_partitions_key(name);
        // What the publisher's script and the page do.
        let wanted: [&[&str]; 10] = [
            &["EVALSHA", "0", "2", stream, log],
            &["SCRIPT", "LOAD", ""],
            &["XADD", stream, "1-0", "row", ""],
            &["XTRIM", stream, "MAXLEN", "1"],
            &["XREVRANGE", stream, "+", "-"],
            &["XREAD", "STREAMS", stream, "0"],
            &["XINFO", "STREAM", stream],
            &["EXISTS", stream],
            &["SET", log, ""],
            &["GET", &partitions],
        ];
        for command in wanted {
            let mut dry = cmd("ACL");
            dry.arg("DRYRUN").arg(user).arg(command);
            match self.ask::<String>(&dry).await {
                Ok(said) if said == "OK" => {}
                Ok(said) => return Some(denied(name, &format!("{}: {said}", command[0]))),
                Err(_) => return None,
            }
        }
        Some(Finding::ok(
            "Redis rights",
            format!("user {user} may do all that is done with {name}:*"),
        ))
    }

    async fn clock(&mut self) -> Finding {
        let before = chrono::Utc::now().timestamp_millis();
        let time = self.ask::<(i64, i64)>(&cmd("TIME")).await;
        let after = chrono::Utc::now().timestamp_millis();
        match time {
            Err(error) => Finding::ok("Redis clock", format!("cannot be asked: {error}")),
            Ok((seconds, micros)) => {
                let redis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
                skew(redis - before.midpoint(after))
            }
        }
    }
}

fn is_allowed(error: &RedisError) -> bool {
    use ServerErrorKind::{Moved, NoScript};
    matches!(error.kind(), ErrorKind::Server(NoScript | Moved))
}

fn is_refused(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

fn denied(name: &str, words: &str) -> Finding {
    Finding::fail(
        "Redis rights",
        words,
        format!(
            "allow the user of [redis].url the keys of this join: ACL SETUSER … ~{name}:* {COMMANDS}"
        ),
    )
}

/// `name:value` lines.
fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines()
        .filter_map(|line| line.trim().split_once(':'))
        .collect()
}

fn number(info: &HashMap<&str, &str>, name: &str) -> u64 {
    info.get(name)
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}

fn version(info: &HashMap<&str, &str>) -> Finding {
    let version = info.get("redis_version").copied().unwrap_or("unknown");
    let words = format!("version {version} answers");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major < OLDEST_MAJOR => {
            Finding::fail("Redis", words, "streams need version 5 or newer")
        }
        Some(major) if major < GOOD_MAJOR => Finding::warn(
            "Redis",
            words,
            "it works, but is no longer maintained: tests run with version 7",
        ),
        _ => Finding::ok("Redis", words),
    }
}

/// A server that is alone, or a primary among replicas, says the same of itself.
fn kind(info: &HashMap<&str, &str>, configured: RedisKind) -> Option<Finding> {
    let is_node = info.get("cluster_enabled") == Some(&"1");
    let is_sentinel = info.get("redis_mode") == Some(&"sentinel");
    let (found, kind) = match configured {
        RedisKind::Single if is_node => ("a node of a Redis Cluster", "cluster"),
        RedisKind::Single if is_sentinel => ("a Sentinel", "sentinel"),
        _ => return None,
    };
    let advice = format!("set [redis].kind to \"{kind}\"");
    Some(Finding::fail("Redis", format!("is {found}"), advice))
}

fn role(info: &HashMap<&str, &str>) -> Option<Finding> {
    let is_loading = info.get("loading") == Some(&"1");
    if is_loading {
        let advice = "wait until it has read its data; rows wait in the join log meanwhile";
        return Some(Finding::warn("Redis", "is loading its data", advice));
    }
    let is_replica = info.get("role") == Some(&"slave");
    is_replica.then(|| {
        Finding::fail(
            "Redis",
            "is a replica, which takes no rows",
            "have [redis].url name the master",
        )
    })
}

fn memory(info: &HashMap<&str, &str>) -> Finding {
    let (used, most) = (number(info, "used_memory"), number(info, "maxmemory"));
    let policy = info.get("maxmemory_policy").copied().unwrap_or("unknown");
    let limit = match most {
        0 => "no limit".into(),
        most => format!("at most {}", human::bytes(most)),
    };
    let words = format!(
        "{} used, {limit}, maxmemory-policy {policy}",
        human::bytes(used)
    );
    if policy != "noeviction" {
        return Finding::warn(
            "Redis memory",
            words,
            "CONFIG SET maxmemory-policy noeviction: else Redis throws whole streams of rows away when it is full. [redis].max_rows bounds them instead",
        );
    }
    if most > 0 && used > most / 10 * 9 {
        let advice =
            "give it more, or lower [redis].max_rows: when it is full rows wait in the join log";
        return Finding::warn("Redis memory", words, advice);
    }
    Finding::ok("Redis memory", words)
}

fn persistence(info: &HashMap<&str, &str>, saves: Option<String>) -> Finding {
    let subject = "Redis disk";
    let appends = info.get("aof_enabled") == Some(&"1");
    let failed = (info.get("aof_last_write_status") == Some(&"err"))
        || (info.get("rdb_last_bgsave_status") == Some(&"err"));
    if failed {
        let words = "its last attempt to write to its disk failed";
        return Finding::fail(
            subject,
            words,
            "look into its log: by default it takes no rows until it can write",
        );
    }
    match (appends, saves.as_deref()) {
        (true, _) => Finding::ok(subject, "keeps an append-only file"),
        (false, Some("")) => Finding::warn(
            subject,
            "keeps nothing: neither appendonly nor save is set",
            "after a restart all rows are written again from the join log, as far back as it reaches: set appendonly yes",
        ),
        (false, Some(saves)) => Finding::ok(
            subject,
            format!(
                "makes snapshots (save {saves}); what is newer is written again from the join log"
            ),
        ),
        (false, None) => Finding::ok(
            subject,
            "no append-only file; whether it makes snapshots may not be asked",
        ),
    }
}

fn skew(ahead_ms: i64) -> Finding {
    let direction = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let words = format!("{} ms {direction} this machine's", ahead_ms.unsigned_abs());
    if ahead_ms.abs() > APART_MS {
        return Finding::warn(
            "Redis clock",
            words,
            "nothing depends on it, but somebody's NTP does not work",
        );
    }
    Finding::ok("Redis clock", words)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    #[test]
    fn what_redis_says_of_itself_is_judged() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nused_memory:95\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_enabled:0\r\n";
        let info = fields(info);
        assert_eq!(version(&info).status, Status::Ok);
        assert_eq!(role(&info), None);
        assert_eq!(kind(&info, RedisKind::Single), None);
        for (says, advice) in [
            ("cluster_enabled:1", "\"cluster\""),
            ("redis_mode:sentinel", "\"sentinel\""),
        ] {
            let found = kind(&fields(says), RedisKind::Single).expect("it is another kind");
            assert_eq!(found.status, Status::Fail);
            assert!(found.advice.contains(advice), "{}", found.advice);
            assert_eq!(kind(&fields(says), RedisKind::Cluster), None);
        }
        assert_eq!(memory(&info).status, Status::Warn);
        assert_eq!(persistence(&info, Some(String::new())).status, Status::Warn);
        assert_eq!(persistence(&info, Some("3600 1".into())).status, Status::Ok);
        assert_eq!(persistence(&info, None).status, Status::Ok);
        let evicting = fields(
            "maxmemory_policy:allkeys-lru\nredis_version:4.0.1\nrole:slave\naof_last_write_status:err",
        );
        assert_eq!(memory(&evicting).status, Status::Warn);
        assert_eq!(version(&evicting).status, Status::Fail);
        assert_eq!(role(&evicting).map(|f| f.status), Some(Status::Fail));
        assert_eq!(persistence(&evicting, None).status, Status::Fail);
        assert_eq!(skew(-5_000).status, Status::Warn);
        assert_eq!(skew(3).words, "3 ms ahead of this machine's");
    }
}
