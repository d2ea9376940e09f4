//! Whether events can be read as the configuration says, and whether foreign keys have partners.

use super::finding::Finding;
use super::{Asking, because};
use crate::sample::overlap::{Counts, Overlap, hash, percent};
use crate::sample::{self, Bounds, Sample};
use crate::{human, options};
use rtf_json::{Extractor, Fields, Parts};
use rtf_kafka::Isolation;
use std::collections::HashSet;
use std::time::Duration;

/// Of the foreign topic both ends, as its events may wait.
const FOREIGN: Bounds = Bounds {
    first: 250,
    last: 250,
    bytes: 32 << 20,
    time: Duration::from_secs(10),
};
/// Of the primary topic much more, since one that is not seen looks as if it were not there.
const PRIMARY: Bounds = Bounds {
    first: 10_000,
    last: 10_000,
    bytes: 128 << 20,
    time: Duration::from_secs(20),
};
/// Fewer partners are probably a slip; fewer readable records too.
const FEW: f64 = 0.1;
/// More that cannot be read are worth a look.
const MANY_UNREADABLE: f64 = 0.02;

/// The keys of a sample.
struct Keys {
    counts: Counts,
    read: u64,
    unreadable: u64,
    /// Why the first one could not be read.
    reason: String,
    /// Different keys.
    distinct: usize,
}

/// Samples both topics and compares.
pub fn compare(asking: &Asking) -> Vec<Finding> {
    let config = &asking.config;
    let isolation = options::isolation(config);
    let foreign = taken(asking, &config.join.foreign.topic, isolation, FOREIGN);
    let primary = taken(
        asking,
        &config.join.primary.topic,
        Isolation::ReadCommitted,
        PRIMARY,
    );
    let mut findings = Vec::new();
    let foreign = keys(
        "foreign records",
        foreign,
        options::foreign_fields(config),
        &mut findings,
    );
    let primary = keys(
        "primary records",
        primary,
        options::primary_fields(config),
        &mut findings,
    );
    if let (Some((foreign, _)), Some((primary, coverage))) = (foreign, primary)
        && foreign.read > 0
    {
        let overlap = Overlap::new(&foreign.counts, &primary.counts, foreign.read, coverage);
        findings.push(judge(&overlap, primary.distinct));
    }
    findings
}

fn taken(
    asking: &Asking,
    topic: &str,
    isolation: Isolation,
    bounds: Bounds,
) -> Result<Option<Sample>, String> {
    let settings = &asking.settings;
    sample::take(&asking.cluster, settings, topic, isolation, bounds).map_err(because)
}

fn keys(
    subject: &str,
    sample: Result<Option<Sample>, String>,
    fields: Fields,
    findings: &mut Vec<Finding>,
) -> Option<(Keys, f64)> {
    let sample = match sample {
        Ok(sample) => sample?,
        Err(words) => {
            findings.push(Finding::fail(subject, words, "the topic must be readable"));
            return None;
        }
    };
    if sample.records.is_empty() {
        findings.push(Finding::warn(
            subject,
            "the topic is empty: keys cannot be compared",
            "send some records, and ask again",
        ));
        return None;
    }
    let extractor = Extractor::new(fields).ok()?;
    let keys = read(&extractor, &sample);
    findings.push(readable(subject, &keys));
    Some((keys, sample.coverage()))
}

fn read(extractor: &Extractor, sample: &Sample) -> Keys {
    let mut keys = Keys {
        counts: Counts::new(),
        read: 0,
        unreadable: 0,
        reason: String::new(),
        distinct: 0,
    };
    let mut distinct = HashSet::new();
    for record in &sample.records {
        let original = &record.original;
        // Of the primary side a deletion, of the foreign side rare.
        let Some(value) = &original.value else {
            continue;
        };
        let parts = Parts {
            value,
            key: original.key.as_deref(),
            headers: &original.headers,
        };
        match extractor.extract(&parts) {
            Ok(event) => {
                keys.read += 1;
                let key = hash(&event.key);
                distinct.insert(key);
                *keys.counts.entry(key).or_default() += 1;
            }
            Err(error) => {
                if keys.unreadable == 0 {
                    keys.reason = error.to_string();
                }
                keys.unreadable += 1;
            }
        }
    }
    keys.distinct = distinct.len();
    keys
}

fn readable(subject: &str, keys: &Keys) -> Finding {
    let all = keys.read + keys.unreadable;
    if keys.unreadable == 0 {
        return Finding::ok(
            subject,
            format!(
                "all of {} sampled have what the configuration names",
                human::count(all)
            ),
        );
    }
    let share = keys.unreadable as f64 / all as f64;
    let words = format!(
        "{} of {} sampled ({}) cannot be read, the first because {}",
        human::count(keys.unreadable),
        human::count(all),
        percent(share),
        keys.reason
    );
    let advice =
        "foreign ones end as malformed, primary ones are left out: are id, key and time right?";
    if keys.read == 0 {
        return Finding::fail(subject, words, advice);
    }
    if share < MANY_UNREADABLE {
        return Finding::ok(subject, words);
    }
    Finding::warn(subject, words, advice)
}

fn judge(overlap: &Overlap, primary_keys: usize) -> Finding {
    // One of which only a part was read is named already.
    let subject = match overlap.is_exact() {
        true => "; the primary topic has",
        false => ", which has",
    };
    let keys = human::count(primary_keys as u64);
    let words = format!("{overlap}{subject} {keys} different keys");
    if overlap.estimate() < FEW {
        return Finding::warn(
            "keys",
            words,
            "is `key` right on both sides, and trim and fold_case? `rtf init` shows which fields have values in common",
        );
    }
    Finding::ok("keys", words)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Status;
    use super::*;

    fn overlap(matched: u64, coverage: f64) -> Overlap {
        Overlap {
            of: 100,
            matched,
            coverage,
        }
    }

    #[test]
    fn few_partners_are_doubted_where_many_should_be() {
        for (matched, coverage, status) in [
            (95, 1.0, Status::Ok),
            (3, 1.0, Status::Warn),
            (0, 0.01, Status::Warn),
            (3, 0.01, Status::Ok),
        ] {
            let found = judge(&overlap(matched, coverage), 7);
            assert_eq!(found.status, status, "{found:?}");
        }
    }
}
