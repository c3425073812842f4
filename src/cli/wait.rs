//! What a command that takes rights away says of the replicas and, with `--wait`, of the sidecars that have, and have not, got it.

use crate::cli::keys::context::Context;
use crate::cli::{Exit, Failure, Globals, output};
use crate::config::units::Span;
use crate::fleet::{self, Receipt};
use crate::store::Replication;
use crate::store::change::Position;
use crate::store::instance::Seen;

/// The flag.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// Wait until every running sidecar has applied it, for 5s or SPAN at most; exit 1 names those that have not
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, default_missing_value = "5s")]
    wait: Option<Span>,
}

impl Wait {
    /// Says how far what the command has changed has got: in the store, and, if the flag is there, in the sidecars.
    pub(super) fn confirm(&self, context: &Context, globals: &Globals) -> Result<(), Failure> {
        if let Some(Replication { wanted, acknowledged }) = context.lifecycle.unreplicated() {
            output::note(format_args!("committed on the master, not yet replicated: {acknowledged} of {wanted} replicas have it"));
        }
        self.wait.map_or(Ok(()), |patience| confirm(context, patience, globals))
    }
}

/// Waits until every running sidecar has applied what the command has changed.
pub(super) fn confirm(context: &Context, patience: Span, globals: &Globals) -> Result<(), Failure> {
    let lifecycle = &context.lifecycle;
    // Where nothing was changed nobody can have applied it.
    if lifecycle.position() == Position(0) {
        return Ok(());
    }
    let receipt = context.run(async { Ok(fleet::confirm(&*lifecycle.store, lifecycle.position(), patience.0).await?) })?;
    let total = receipt.confirmed + receipt.missing.len();
    if receipt.missing.is_empty() {
        if !globals.quiet {
            output::note(confirmed(&receipt));
        }
        return Ok(());
    }
    let missing: Vec<_> = receipt.missing.iter().map(|seen| missing(seen, context)).collect();
    let words = format!("{} of {total} sidecars confirmed within {patience}; not yet:\n  {}", receipt.confirmed, missing.join("\n  "));
    Err(Exit::Failed.because(words))
}

fn confirmed(receipt: &Receipt) -> String {
    match receipt.confirmed {
        0 => "no sidecar is running on this store".to_owned(),
        1 => format!("1 of 1 sidecar confirmed in {}", milliseconds(receipt)),
        n => format!("{n} of {n} sidecars confirmed in {}", milliseconds(receipt)),
    }
}

fn milliseconds(receipt: &Receipt) -> String {
    format!("{:.1} ms", receipt.took.as_secs_f64() * 1000.0)
}

fn missing(seen: &Seen, context: &Context) -> String {
    let (name, silent) = (&seen.instance.name, seen.silent.as_secs_f64());
    let until = seen.stale_until(context.clock.now());
    format!("{name}: not heard of for {silent:.1} s; where it cannot reach the store it may serve what it had until {until}")
}
