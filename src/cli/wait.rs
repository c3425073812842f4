//! What a command that takes rights away says of the replicas and, with `--wait`, of the sidecars that have, and have not, got it.

use serde::Deserialize;

use super::desk::Desk;
use crate::cli::{Exit, Failure, Globals, output};
use crate::clock::Timestamp;
use crate::config::units::Span;
use crate::fleet::Receipt;

/// The flag.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// Wait until every running sidecar has applied it, for 5s or SPAN at most; exit 1 names those that have not
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, default_missing_value = "5s")]
    pub(super) wait: Option<Span>,
}

/// Which sidecars have applied a change, as the management API says it.
#[derive(Debug, Deserialize)]
pub(super) struct Confirmation {
    confirmed: usize,
    missing: Vec<Missing>,
    took_ms: f64,
}

#[derive(Debug, Deserialize)]
struct Missing {
    sidecar: String,
    silent_ms: f64,
    may_serve_until: Timestamp,
}

impl Confirmation {
    pub(super) fn of(receipt: &Receipt, now: Timestamp) -> Self {
        let missing = receipt.missing.iter().map(|seen| Missing {
            sidecar: seen.instance.name.clone(),
            silent_ms: seen.silent.as_secs_f64() * 1000.0,
            may_serve_until: seen.stale_until(now),
        });
        Self { confirmed: receipt.confirmed, missing: missing.collect(), took_ms: receipt.took.as_secs_f64() * 1000.0 }
    }
}

/// Says how far what was changed has got: in the store, and, where somebody waits, in the sidecars.
///
/// # Errors
/// A sidecar has not confirmed it in time.
pub(super) fn confirm(desk: &dyn Desk, globals: &Globals) -> Result<(), Failure> {
    if let Some(replicas) = desk.unreplicated() {
        output::note(format_args!("committed on the master, not yet replicated: {replicas}"));
    }
    let Some(Confirmation { confirmed, missing, took_ms }) = desk.confirmation()? else { return Ok(()) };
    if missing.is_empty() {
        if !globals.quiet {
            output::note(match confirmed {
                0 => "no sidecar is running on this store".to_owned(),
                1 => format!("1 of 1 sidecar confirmed in {took_ms:.1} ms"),
                n => format!("{n} of {n} sidecars confirmed in {took_ms:.1} ms"),
            });
        }
        return Ok(());
    }
    let total = confirmed + missing.len();
    let words = missing.iter().map(|Missing { sidecar, silent_ms, may_serve_until }| {
        let silent = silent_ms / 1000.0;
        format!("\n  {sidecar}: not heard of for {silent:.1} s; where it cannot reach the store it may serve what it had until {may_serve_until}")
    });
    let words: String = words.collect();
    Err(Exit::Failed.because(format!("{confirmed} of {total} sidecars confirmed within {took_ms:.0} ms; not yet:{words}")))
}
