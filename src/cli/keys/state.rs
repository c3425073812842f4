//! `keys deactivate`, `keys activate`. Doing it twice is as good as once.

use super::context::Access;
use crate::cli::desk::{self, KeyVerb, Shown, text};
use crate::cli::wait::{Wait, confirm};
use crate::cli::{Failure, Globals, output};

/// One key, switched off or on.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The key
    id: String,
    #[command(flatten)]
    wait: Wait,
}

pub(super) fn change(args: &One, verb: KeyVerb, globals: &Globals) -> Result<(), Failure> {
    let mut desk = desk::open(Access::Change, globals)?;
    desk.wait_for(args.wait.wait);
    print(&desk.change_key(&args.id, verb)?, globals);
    confirm(&*desk, globals)
}

fn print(shown: &Shown, globals: &Globals) {
    if globals.json {
        output::json(shown);
    } else if !globals.quiet {
        output::line(format_args!("{} {}", text(shown, "id"), text(shown, "status")));
    }
}
