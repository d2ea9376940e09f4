//! How far long work is: a bar on a terminal, silence elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A counter that shows itself.
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts towards `total`, if it is known. Shown on standard error, only if that is a terminal.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(
                "{msg:12} {bar:40} {human_pos}/{human_len} {per_sec} {eta}",
            )),
            None => ProgressBar::new_spinner()
                .with_style(style("{msg:12} {spinner} {human_pos} {per_sec}")),
        };
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            bar.enable_steady_tick(Duration::from_millis(200));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_message(what);
        Self(bar)
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// So many more are done.
    pub fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// All is done; the bar goes.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right")
}
