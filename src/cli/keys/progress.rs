//! How far long work is: a bar with rate and time left on a terminal; elsewhere a line every 100,000, so that a log shows that it
//! goes on. All on stderr; nothing with `--quiet` or `--json`.

use std::io::IsTerminal as _;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::cli::{Globals, output};

/// Rows between two lines where there is no terminal.
const EVERY: u64 = 100_000;

/// What is shown of a piece of work.
pub(crate) struct Shown {
    how: How,
    phase: &'static str,
    /// Lines written of this phase.
    lines: u64,
}

enum How {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Shown {
    pub(crate) fn new(globals: &Globals) -> Self {
        let how = if globals.quiet || globals.json {
            How::Nothing
        } else if std::io::stderr().is_terminal() {
            How::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
        } else {
            How::Lines
        };
        Self { how, phase: "", lines: 0 }
    }

    /// `done` rows in this phase, of so many where that is known.
    pub(crate) fn show(&mut self, phase: &'static str, done: u64, of: Option<u64>) {
        if phase != self.phase {
            (self.phase, self.lines) = (phase, 0);
            if let How::Bar(bar) = &mut self.how {
                bar.finish_and_clear();
                *bar = ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr());
                bar.set_style(style(of.is_some()));
                bar.set_message(phase);
            }
        }
        match &self.how {
            How::Bar(bar) => {
                if let Some(of) = of {
                    bar.set_length(of);
                }
                bar.set_position(done);
            }
            How::Lines if done / EVERY > self.lines => {
                self.lines = done / EVERY;
                output::note(format_args!("{phase}: {}", HumanCount(done)));
            }
            How::Lines | How::Nothing => {}
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}

fn style(bounded: bool) -> ProgressStyle {
    let template =
        if bounded { "{msg:8} [{bar:30}] {human_pos} of {human_len}, {rate}/s, {eta} left" } else { "{msg:8} {human_pos}, {rate}/s" };
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").with_key("rate", rate)
}
