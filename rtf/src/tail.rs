//! `rtf tail`: rows as they come, read from Redis as the page reads them.

mod columns;

use crate::cli::ConfigArgs;
use crate::out::{self, Reader};
use crate::watch::told_to_stop;
use crate::{load, redis_client};
use clap::Args;
use columns::Columns;
use console::Term;
use rtf_config::Config;
use rtf_web::{Cursor, RedisRows, Row, RowSource, SourceError};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Rows of each partition in one answer.
const PAGE: usize = 500;
/// Older rows that are looked through for a key.
const LOOKED_THROUGH_MAX: usize = 1_000_000;
/// One question waits so long for new rows.
const PATIENCE: Duration = Duration::from_secs(1);
/// Redis that is away is asked again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// `rtf tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// So many rows that are there already come first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Only rows of this key, written as in a row's "key"
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
    /// All rows that Redis has come first, in each partition the oldest first
    #[arg(long, conflicts_with = "lines")]
    from_beginning: bool,
    /// End with the last row there is instead of waiting for more
    #[arg(long)]
    no_follow: bool,
    /// Print each row as a line of JSON; this is so anyway unless standard output is a terminal
    #[arg(long)]
    json: bool,
}

/// Prints rows until a signal comes, or nobody reads.
///
/// # Errors
/// Redis does not answer at the beginning, or the output cannot be written. A Redis that goes away later is waited for.
pub async fn run(args: TailArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args.config)?;
    let redis = redis_client::open(&config)?;
    let rows = RedisRows::new(redis, &config.join.name, config.registry.partitions);
    let mut tail = Tail {
        printer: Printer::new(&config, args.json),
        args,
        rows,
        cursor: Cursor::default(),
    };
    tokio::select! {
        ended = tail.run() => ended?,
        told = told_to_stop() => told?,
    }
    Ok(ExitCode::SUCCESS)
}

struct Tail {
    args: TailArgs,
    rows: RedisRows,
    cursor: Cursor,
    printer: Printer,
}

impl Tail {
    async fn run(&mut self) -> anyhow::Result<()> {
        let ends = self.rows.ends().await?;
        if !self.args.from_beginning {
            let newest = self.newest(&ends).await?;
            self.cursor = ends.clone();
            if self.printer.print(&newest)? == Reader::Gone {
                return Ok(());
            }
        }
        self.follow(ends).await
    }

    /// Rows after the cursor; up to these ends, or for ever.
    async fn follow(&mut self, ends: Cursor) -> anyhow::Result<()> {
        while !self.args.no_follow || self.cursor.is_behind(&ends) {
            let page = match self.rows.after(&self.cursor, PAGE, PATIENCE).await {
                Ok(page) => page,
                Err(error) if self.args.no_follow => return Err(error.into()),
                Err(error) => {
                    self.wait_for(&error).await;
                    continue;
                }
            };
            let is_idle = page.cursor == self.cursor;
            self.cursor = page.cursor;
            let mut rows = page.rows;
            rows.retain(|row| self.is_wanted(row));
            // Pages are ordered by partition; among partitions the log's time is the better order.
            rows.sort_by_key(Row::rank);
            if self.printer.print(&rows)? == Reader::Gone {
                return Ok(());
            }
            if is_idle
                && let Ok(ends) = self.rows.ends().await
                && self.cursor.rewind(&ends)
            {
                tracing::warn!("Redis lost rows: what it has is shown again from its beginning");
            }
        }
        Ok(())
    }

    async fn wait_for(&self, error: &SourceError) {
        tracing::warn!(%error, "waiting for Redis");
        tokio::time::sleep(AGAIN_AFTER).await;
    }

    fn is_wanted(&self, row: &Row) -> bool {
        self.args.key.as_ref().is_none_or(|key| *key == row.key)
    }

    /// The newest rows that are wanted, the oldest of them first.
    async fn newest(&self, ends: &Cursor) -> Result<Vec<Row>, SourceError> {
        let wanted = self.args.lines;
        let mut found: Vec<Row> = Vec::new();
        let mut looked_through = 0;
        let mut bounds: Vec<(u32, u64)> = ends.iter().map(|(p, end)| (p, end + 1)).collect();
        let page = if self.args.key.is_some() {
            PAGE
        } else {
            wanted.min(PAGE)
        };
        while !bounds.is_empty() && found.len() < wanted && looked_through < LOOKED_THROUGH_MAX {
            let chunks = self.rows.before(&bounds, page).await?;
            let asked = std::mem::take(&mut bounds);
            for ((partition, _), chunk) in asked.into_iter().zip(chunks) {
                bounds.extend(chunk.rest.map(|rest| (partition, rest)));
                looked_through += chunk.rows.len();
                found.extend(chunk.rows.into_iter().filter(|row| self.is_wanted(row)));
            }
        }
        found.sort_by_key(Row::rank);
        Ok(found.split_off(found.len().saturating_sub(wanted)))
    }
}

/// How rows are shown.
enum Printer {
    Lines,
    Table(Columns),
}

impl Printer {
    fn new(config: &Config, json: bool) -> Self {
        let terminal = Term::stdout();
        if json || !terminal.is_term() {
            return Self::Lines;
        }
        let (_, width) = terminal.size();
        Self::Table(Columns::new(&config.web.columns, width.into()))
    }

    fn print(&mut self, rows: &[Row]) -> anyhow::Result<Reader> {
        if rows.is_empty() {
            return Ok(Reader::Listens);
        }
        match self {
            Self::Lines => out::write(&lines(rows)),
            Self::Table(columns) => {
                let values = rows.iter().map(|row| serde_json::from_slice(&row.json));
                let values: Vec<Value> = values.collect::<Result<_, _>>()?;
                out::write(columns.lines(&values).as_bytes())
            }
        }
    }
}

/// A line each: the originals in a row are as they were sent, and may have been written over several.
fn lines(rows: &[Row]) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        // Within JSON's strings line ends are escaped, so these are white space.
        let bytes = row.json.iter();
        text.extend(bytes.map(|byte| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        }));
        text.push(b'\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_line_however_it_was_sent() {
        let json = bytes::Bytes::from_static(
            b"{\"key\":\"k\",\"joined_ts\":1,\"foreign\":{\r\n \"a\\n\": 1 }}",
        );
        let row = Row::parse(0, 1, json).expect("a row");
        let text = String::from_utf8(lines(&[row.clone(), row])).expect("text");
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.starts_with("{\"key\":\"k\",\"joined_ts\":1,\"foreign\":{   \"a\\n\": 1 }}\n")
        );
    }
}
