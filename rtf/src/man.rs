//! `rtf man`: the pages for man(1), made from what `--help` says.

use crate::cli::Cli;
use crate::{exit, out};
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_mangen::Man;
use std::path::PathBuf;

/// `rtf man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command whose page is printed, for example `registry split`; none: rtf itself
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory, which is made if need be
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints one page, or writes all.
///
/// # Errors
/// There is no such command, or it cannot be written.
pub fn run(args: &ManArgs) -> anyhow::Result<()> {
    if let Some(dir) = &args.dir {
        let refused = || format!("cannot write pages into {}", dir.display());
        std::fs::create_dir_all(dir).with_context(refused)?;
        clap_mangen::generate_to(Cli::command(), dir).with_context(refused)?;
        let dir = dir.display();
        return out::line(format_args!("the pages are in {dir}: man -l {dir}/rtf.1")).map(drop);
    }
    out::write(&page(&args.command)?).map(drop)
}

fn page(names: &[String]) -> anyhow::Result<Vec<u8>> {
    let mut command = Cli::command();
    // Gives each command the names of those above it.
    command.build();
    for name in names {
        let inner = command.find_subcommand(name).cloned();
        command = inner
            .ok_or_else(|| exit::usage(format!("there is no command `rtf {}`", names.join(" "))))?;
    }
    let title = command.get_display_name().unwrap_or("rtf").to_owned();
    let mut text = Vec::new();
    Man::new(command).title(title).render(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let text = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            page(&names).map(|page| String::from_utf8(page).expect("pages are text"))
        };
        assert!(text(&[]).expect("a page").contains("exactly once"));
        let split = text(&["registry", "split"]).expect("a page");
        assert!(
            split.contains("rtf\\-registry\\-split") && split.contains("\\-\\-partitions"),
            "{split}"
        );
        assert!(text(&["nonsense"]).is_err());
    }

    #[test]
    fn all_pages_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Some(folder.path().join("man1"));
        let command = Vec::new();
        run(&ManArgs { command, dir }).expect("pages");
        for page in ["rtf.1", "rtf-doctor.1", "rtf-dlq-replay.1"] {
            assert!(folder.path().join("man1").join(page).is_file(), "{page}");
        }
    }
}
