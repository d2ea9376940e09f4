//! `rtf registry digest`: whether the replicas decided alike.

use super::answers::exit_code;
use super::parts;
use super::replica::{Replica, within};
use crate::out;
use crate::table::{Align, Table};
use rtf_proto::{Offset, PartitionId, pb};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Replicas that are at different places of a log that moves need a few looks to be seen at the same one.
const COMMON_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// What a replica knows of each partition: offset and digest.
type Known = BTreeMap<PartitionId, BTreeMap<Offset, u64>>;

/// A partition at the highest offset all replicas know.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Compared {
    partition: PartitionId,
    /// None when there is no such offset.
    at: Option<Offset>,
    /// Which replica has which; empty without an offset.
    digests: Vec<(usize, u64)>,
}

impl Compared {
    fn agrees(&self) -> bool {
        self.at.is_some()
            && self
                .digests
                .iter()
                .all(|(_, digest)| *digest == self.digests[0].1)
    }

    fn verdict(&self) -> &'static str {
        match (self.at, self.agrees()) {
            (None, _) => "not comparable yet",
            (Some(_), true) => "equal",
            (Some(_), false) => "DIFFERENT",
        }
    }
}

/// Prints the comparison; 1 unless all replicas answer and agree.
///
/// # Errors
/// Standard output cannot be written.
pub async fn run(replicas: &[Replica], json: bool) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + COMMON_WITHIN;
    let directory = parts::directory(replicas).await;
    loop {
        let known = futures::future::join_all(replicas.iter().map(ask)).await;
        let answered: Vec<(usize, &Known)> = (known.iter().enumerate())
            .filter_map(|(at, known)| Some((at, known.as_ref().ok()?)))
            .collect();
        let compared = compare(&answered, |at, partition| directory.serves(at, partition));
        let is_final = compared.iter().all(|compared| compared.at.is_some())
            || compared.iter().any(|c| c.at.is_some() && !c.agrees())
            || answered.len() < known.len();
        if is_final || Instant::now() >= deadline {
            return report(replicas, &known, &compared, json);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn ask(replica: &Replica) -> Result<Known, String> {
    let request = replica.request(pb::DigestRequest {});
    let answer = within(ANSWER_WITHIN, replica.admin().digest(request)).await?;
    let marks = |digest: pb::PartitionDigest| {
        let marks = digest.marks.into_iter();
        let marks = marks.map(|mark| (mark.offset, mark.digest)).collect();
        (digest.partition, marks)
    };
    Ok(answer.partitions.into_iter().map(marks).collect())
}

/// Each partition among those who serve it.
fn compare(
    known: &[(usize, &Known)],
    serves: impl Fn(usize, PartitionId) -> bool,
) -> Vec<Compared> {
    let partitions: BTreeSet<PartitionId> = (known.iter())
        .flat_map(|(_, known)| known.keys())
        .copied()
        .collect();
    let compared = partitions.into_iter().map(|partition| {
        let of = |(at, known): &(usize, &'_ Known)| {
            let marks = known.get(&partition);
            // One that serves it and has not heard of it yet has nothing to compare.
            marks
                .cloned()
                .or_else(|| serves(*at, partition).then(BTreeMap::new))
        };
        let marks: Vec<(usize, BTreeMap<Offset, u64>)> = (known.iter())
            .filter_map(|known| Some((known.0, of(known)?)))
            .collect();
        let at = marks.first().and_then(|(_, first)| {
            let mut offsets = first.keys().rev();
            offsets.find(|offset| marks.iter().all(|(_, marks)| marks.contains_key(offset)))
        });
        let digest = |at: Offset| {
            marks
                .iter()
                .map(move |(replica, marks)| (*replica, marks[&at]))
        };
        Compared {
            partition,
            at: at.copied(),
            digests: at.map_or(Vec::new(), |at| digest(*at).collect()),
        }
    });
    compared.collect()
}

fn report(
    replicas: &[Replica],
    known: &[Result<Known, String>],
    compared: &[Compared],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let silent: Vec<(&str, &str)> = (replicas.iter().zip(known))
        .filter_map(|(replica, known)| Some((replica.url.as_str(), known.as_ref().err()?.as_str())))
        .collect();
    let agree = silent.is_empty() && compared.iter().all(Compared::agrees);
    if json {
        out::line(as_json(replicas, &silent, compared, agree))?;
    } else {
        out::write(words(replicas, &silent, compared, agree)?.as_bytes())?;
    }
    Ok(exit_code(agree))
}

fn words(
    replicas: &[Replica],
    silent: &[(&str, &str)],
    compared: &[Compared],
    agree: bool,
) -> anyhow::Result<String> {
    let mut text = String::new();
    for (url, words) in silent {
        writeln!(text, "{url}  {words}")?;
    }
    write!(text, "{}", table(compared))?;
    for different in compared.iter().filter(|c| c.at.is_some() && !c.agrees()) {
        writeln!(text, "partition {}:", different.partition)?;
        for (at, digest) in &different.digests {
            writeln!(text, "  {}  {digest:016x}", replicas[*at].url)?;
        }
    }
    match (agree, replicas) {
        (true, [_]) => text += "one replica, so there is nothing to compare\n",
        (true, all) => writeln!(text, "all {} replicas decided alike", all.len())?,
        (false, _) => text += "the replicas are not shown to have decided alike\n",
    }
    Ok(text)
}

fn table(compared: &[Compared]) -> Table {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("PARTITION", Right),
        ("BELOW OFFSET", Right),
        ("DIGEST", Left),
        ("REPLICAS", Left),
    ]);
    for compared in compared {
        let digest = match compared.digests.first() {
            Some((_, digest)) if compared.agrees() => format!("{digest:016x}"),
            _ => String::new(),
        };
        table.row(vec![
            compared.partition.to_string(),
            compared.at.map_or(String::new(), crate::human::count),
            digest,
            compared.verdict().into(),
        ]);
    }
    table
}

fn as_json(
    replicas: &[Replica],
    silent: &[(&str, &str)],
    compared: &[Compared],
    agree: bool,
) -> Value {
    let one = |compared: &Compared| {
        let digests: serde_json::Map<_, Value> = (compared.digests.iter())
            .map(|(at, digest)| (replicas[*at].url.clone(), format!("{digest:016x}").into()))
            .collect();
        json!({ "partition": compared.partition, "offset": compared.at, "equal": compared.agrees(), "digests": digests })
    };
    json!({
        "agree": agree,
        "partitions": compared.iter().map(one).collect::<Vec<_>>(),
        "silent": silent.iter().map(|(url, words)| json!({ "endpoint": url, "error": words })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(marks: &[(Offset, u64)]) -> Known {
        BTreeMap::from([(0, marks.iter().copied().collect())])
    }

    #[test]
    fn the_highest_common_offset_decides() {
        let (one, two) = (
            known(&[(1024, 1), (2048, 2), (3072, 3)]),
            known(&[(1024, 9), (2048, 2), (2500, 8)]),
        );
        let compared = compare(&[(0, &one), (1, &two)], |_, _| true);
        assert_eq!(compared[0].at, Some(2048));
        assert!(compared[0].agrees());
        assert_eq!(compared[0].verdict(), "equal");
    }

    #[test]
    fn a_difference_is_one_and_nothing_in_common_is_no_agreement() {
        let (one, two) = (known(&[(1024, 1)]), known(&[(1024, 2)]));
        let different = &compare(&[(0, &one), (1, &two)], |_, _| true)[0];
        assert_eq!(different.verdict(), "DIFFERENT");
        for apart in [known(&[(5, 1)]), Known::new()] {
            let compared = &compare(&[(0, &one), (1, &apart)], |_, _| true)[0];
            assert_eq!((compared.at, compared.agrees()), (None, false));
        }
        assert!(compare(&[(0, &one)], |_, _| true)[0].agrees());
    }

    #[test]
    fn each_partition_is_compared_among_those_who_serve_it() {
        let (one, two) = (
            known(&[(5, 1)]),
            Known::from([(1, BTreeMap::from([(7, 2)]))]),
        );
        let own = |at, partition| at == partition as usize;
        let compared = compare(&[(0, &one), (1, &two)], own);
        let at: Vec<_> = compared.iter().map(|c| (c.at, c.digests.clone())).collect();
        assert_eq!(at, [(Some(5), vec![(0, 1)]), (Some(7), vec![(1, 2)])]);
        assert!(compared.iter().all(Compared::agrees));
    }
}
