//! Positions as CSV, as kafka-consumer-groups writes and reads them: `topic,partition,offset`, or with the group in front. Pure.

use super::plan::Plan;
use rtf_proto::{Offset, PartitionId};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Reads it.
///
/// # Errors
/// The line that cannot be meant, in words.
pub fn parse(
    text: &str,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<PartitionId, Offset>, String> {
    let mut offsets = BTreeMap::new();
    for (number, line) in (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let wrong = |words: &str| format!("line {number}, `{line}`: {words}");
        // Neither topics nor groups that we accept have commas or quotes in their names.
        let cells: Vec<&str> = line
            .split(',')
            .map(|cell| cell.trim().trim_matches('"'))
            .collect();
        let cells = match cells.as_slice() {
            [of, rest @ ..] if rest.len() == 3 && *of == group => rest,
            [of, _, _, _] => return Err(wrong(&format!("it is of group `{of}`, not `{group}`"))),
            cells => cells,
        };
        let [of, partition, offset] = cells else {
            return Err(wrong("expected topic,partition,offset"));
        };
        if *of != topic {
            return Err(wrong(&format!("the foreign topic is `{topic}`")));
        }
        let partition: PartitionId = partition.parse().map_err(|_| wrong("no partition"))?;
        let offset: Offset = offset.parse().map_err(|_| wrong("no offset"))?;
        if offsets.insert(partition, offset).is_some() {
            return Err(wrong("the partition stands there twice"));
        }
    }
    if offsets.is_empty() {
        return Err("no positions in it".into());
    }
    Ok(offsets)
}

/// Writes where the partitions would be.
pub fn export(topic: &str, plan: &Plan) -> String {
    let mut text = String::new();
    for line in &plan.lines {
        let _ = writeln!(text, "{topic},{},{}", line.partition, line.to);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::plan::Line;
    use rtf_fuzz::fuzz;

    #[test]
    fn what_is_written_is_read() {
        let line = |partition, to| Line {
            partition,
            mark: 100,
            to,
            records: 0,
            note: None,
        };
        let plan = Plan {
            lines: vec![line(0, 7), line(12, 0)],
        };
        let offsets = parse(&export("clicks", &plan), "g", "clicks").unwrap();
        assert_eq!(offsets, BTreeMap::from([(0, 7), (12, 0)]));
    }

    /// Any file: positions that are read are written so that they are read the same.
    #[test]
    fn fuzz_positions() {
        let seeds: [&[u8]; 3] = [
            b"clicks,0,7\nclicks,12,0\n",
            b"\"g\", clicks ,1,8\r\n\r\n",
            b"clicks,4294967295,18446744073709551615",
        ];
        fuzz("positions", &seeds, |input| {
            let text = String::from_utf8_lossy(input);
            let Ok(offsets) = parse(&text, "g", "clicks") else {
                return;
            };
            let line = |(partition, to): (&PartitionId, &Offset)| Line {
                partition: *partition,
                mark: *to,
                to: *to,
                records: 0,
                note: None,
            };
            let plan = Plan {
                lines: offsets.iter().map(line).collect(),
            };
            assert_eq!(parse(&export("clicks", &plan), "g", "clicks"), Ok(offsets));
        });
    }

    #[test]
    fn kafkas_own_forms_are_read() {
        let offsets = parse("\"clicks\",0,7\n\n\"g\", clicks ,1,8\n", "g", "clicks").unwrap();
        assert_eq!(offsets, BTreeMap::from([(0, 7), (1, 8)]));
        for (text, words) in [
            ("", "no positions"),
            ("clicks,0", "expected topic,partition,offset"),
            ("other,0,7", "the foreign topic is `clicks`"),
            ("h,clicks,0,7", "group `h`"),
            ("clicks,x,7", "no partition"),
            ("clicks,0,-1", "no offset"),
            ("clicks,0,7\nclicks,0,8", "line 2"),
        ] {
            let error = parse(text, "g", "clicks").unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
