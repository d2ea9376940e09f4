//! The store against a model that is too simple to be wrong.

use super::*;
use proptest::prelude::*;

const ROWS_MAX: usize = 5;
const BYTES_MAX: usize = 40;

fn row(offset: u64, bytes: usize) -> Entry {
    (offset, Bytes::from(vec![b'a' + (offset % 26) as u8; bytes]))
}

fn small() -> Rows {
    Rows::new(Limits {
        max_rows: ROWS_MAX,
        max_bytes: BYTES_MAX,
    })
}

#[test]
fn appends_compare_the_end_and_the_log() {
    let rows = small();
    assert_eq!(
        rows.append(3, "log-a", Some(7), &[row(8, 1)]),
        AppendOutcome::Behind { last: None }
    );
    assert_eq!(
        rows.append(3, "log-a", None, &[row(8, 1), row(11, 1)]),
        AppendOutcome::Appended { last: 11 }
    );
    assert_eq!(
        rows.append(3, "log-a", None, &[row(8, 1)]),
        AppendOutcome::Behind { last: Some(11) }
    );
    assert_eq!(
        rows.append(3, "log-b", Some(11), &[row(12, 1)]),
        AppendOutcome::OtherLog {
            found: "log-a".into()
        }
    );
    assert_eq!(rows.last(3), Some(11));
    assert_eq!(
        rows.last(4),
        None,
        "a refused append leaves no partition behind"
    );
    assert_eq!(rows.read_after(3, Some(8), 9), vec![row(11, 1)]);
}

#[test]
fn a_row_above_the_limit_stays_until_the_next_comes() {
    let rows = small();
    rows.append(0, "l", None, &[row(0, BYTES_MAX * 2)]);
    assert_eq!(rows.read_after(0, None, 9).len(), 1);
    rows.append(0, "l", Some(0), &[row(1, 1)]);
    assert_eq!(rows.read_after(0, None, 9), vec![row(1, 1)]);
}

#[test]
fn zero_rows_means_as_many_as_the_bytes_allow() {
    let rows = Rows::new(Limits {
        max_rows: 0,
        max_bytes: 3,
    });
    rows.append(0, "l", None, &[row(0, 1), row(1, 1), row(2, 1), row(3, 1)]);
    assert_eq!(rows.read_after(0, None, 9).len(), 3);
}

#[test]
#[should_panic(expected = "offset 4 follows Some(4)")]
fn offsets_that_do_not_rise_are_the_callers_mistake() {
    small().append(0, "l", None, &[row(4, 1), row(4, 1)]);
}

#[test]
fn cleared_is_as_new_and_announced() {
    let rows = small();
    let mut changed = rows.changed();
    rows.append(0, "l", None, &[row(4, 1)]);
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    rows.clone().clear();
    assert!(changed.has_changed().unwrap());
    assert_eq!(rows.last(0), None);
    assert!(matches!(
        rows.append(0, "other", None, &[row(0, 1)]),
        AppendOutcome::Appended { last: 0 }
    ));
}

#[derive(Clone, Debug)]
struct Append {
    partition: u32,
    log: &'static str,
    /// Expect the true end, or something else.
    guess: Option<u64>,
    honest: bool,
    steps: Vec<(u64, usize)>,
}

fn append() -> impl Strategy<Value = Append> {
    (
        0u32..3,
        prop_oneof![8 => Just("a"), 1 => Just("b")],
        prop::option::of(0u64..20),
        prop::bool::weighted(0.8),
        prop::collection::vec((1u64..4, 0usize..30), 1..5),
    )
        .prop_map(|(partition, log, guess, honest, steps)| Append {
            partition,
            log,
            guess,
            honest,
            steps,
        })
}

/// Everything ever appended; the bound is applied when it is read.
#[derive(Default)]
struct Model {
    partitions: BTreeMap<u32, (&'static str, Vec<Entry>)>,
}

impl Model {
    fn kept(&self, partition: u32) -> Vec<Entry> {
        let Some((_, all)) = self.partitions.get(&partition) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let newest = all.iter().rev().enumerate().take_while(|(i, (_, row))| {
            bytes += row.len();
            *i == 0 || (*i < ROWS_MAX && bytes <= BYTES_MAX)
        });
        let mut kept: Vec<Entry> = newest.map(|(_, entry)| entry.clone()).collect();
        kept.reverse();
        kept
    }
}

proptest! {
    #[test]
    fn agrees_with_the_model(
        appends in prop::collection::vec(append(), 0..40),
        bound in prop::option::of(0u64..60),
        limit in 0usize..8,
    ) {
        let (rows, mut model) = (small(), Model::default());
        for op in appends {
            let last = model.kept(op.partition).last().map(|(offset, _)| *offset);
            let expected = if op.honest { last } else { op.guess };
            let mut offset = expected.map_or(0, |last| last + 1);
            let batch: Vec<Entry> = op.steps.iter().map(|(step, bytes)| {
                offset += step;
                row(offset, *bytes)
            }).collect();
            let got = rows.append(op.partition, op.log, expected, &batch);
            let log = model.partitions.get(&op.partition).map_or(op.log, |(log, _)| *log);
            let want = if log != op.log {
                AppendOutcome::OtherLog { found: log.into() }
            } else if last != expected {
                AppendOutcome::Behind { last }
            } else {
                model.partitions.entry(op.partition).or_insert((op.log, Vec::new())).1.extend(batch);
                AppendOutcome::Appended { last: offset }
            };
            prop_assert_eq!(got, want);
        }
        for partition in 0..3 {
            let kept = model.kept(partition);
            prop_assert_eq!(rows.last(partition), kept.last().map(|(offset, _)| *offset));
            let after: Vec<Entry> = kept.iter()
                .filter(|(offset, _)| Some(*offset) > bound).take(limit).cloned().collect();
            prop_assert_eq!(rows.read_after(partition, bound, limit), after);
            let before: Vec<Entry> = kept.iter().rev()
                .filter(|(offset, _)| bound.is_none_or(|bound| *offset < bound)).take(limit).cloned().collect();
            prop_assert_eq!(rows.read_before(partition, bound, limit), before);
        }
    }
}
