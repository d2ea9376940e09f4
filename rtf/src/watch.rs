//! `--watch`: the same report again and again, until somebody has seen enough.

use crate::out::{self, Reader};
use crate::registry::answers::exit_code;
use clap::Args;
use console::Term;
use rtf_config::Span;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// How often a status is shown.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Show it again every 2s, or as often as is said (--watch=500ms), until Ctrl-C
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s"
    )]
    pub watch: Option<Span>,
}

/// What is shown, and whether all is well.
pub type Shown = (String, bool);

/// Shows a report once, with exit code 1 unless all is well; or, watching, until a signal comes.
///
/// # Errors
/// Standard output cannot be written.
pub async fn show<F>(watch: &Watch, mut report: impl FnMut() -> F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = Shown>,
{
    let Some(every) = &watch.watch else {
        let (text, is_well) = report().await;
        out::write(text.as_bytes())?;
        return Ok(exit_code(is_well));
    };
    let watching = async {
        let terminal = Term::stdout();
        loop {
            let (text, _) = report().await;
            if terminal.is_term() {
                terminal.clear_screen()?;
            }
            if out::write(text.as_bytes())? == Reader::Gone {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(every.0).await;
        }
    };
    tokio::select! {
        ended = watching => ended,
        told = told_to_stop() => told.map(|()| ExitCode::SUCCESS),
    }
}

/// Waits for Ctrl-C or SIGTERM, which end something that only shows.
///
/// # Errors
/// The handlers could not be installed.
pub async fn told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
