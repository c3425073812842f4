//! `keys import`: many keys of another system.

use std::io::Read as _;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::context::{Access, Context};
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::import::{Form, OnConflict, Options};

/// Flags of `keys import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// NDJSON or CSV, - for stdin: id, tenant, name, environment, kind, scopes, … with `key` or `digest` ("sha256:<hex>").
    /// CSV begins with a header; scopes, `ip_allowlist` and referrers are separated by spaces, endpoints by ; and `meta.NAME` is
    /// metadata
    file: PathBuf,
    /// Make tenants that are not there
    #[arg(long)]
    create_tenants: bool,
    /// What becomes of keys that are there already
    #[arg(long, value_enum, default_value_t = OnConflict::Fail)]
    on_conflict: OnConflict,
    /// Only check the file against the store
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let (name, text) = if args.file.as_os_str() == "-" {
        let mut text = Zeroizing::new(Vec::new());
        ("stdin".to_owned(), std::io::stdin().read_to_end(&mut text).map(|_| text))
    } else {
        (args.file.display().to_string(), std::fs::read(&args.file).map(Zeroizing::new))
    };
    let text = text.map_err(|error| Exit::Failed.because(format!("{name}: {error}")))?;
    let context = Context::open(if args.dry_run { Access::Read } else { Access::Make }, globals)?;
    let options = Options { create_tenants: args.create_tenants, on_conflict: args.on_conflict, dry_run: args.dry_run };
    let report = context.run(context.lifecycle.import(Form::of(&name, &text), &text, options))?;
    if globals.json {
        output::json(&report);
    } else if !globals.quiet {
        output::line(format_args!(
            "{}{} imported, {} updated, {} skipped, {} refused, {} {} made",
            if args.dry_run { "dry run: " } else { "" },
            report.imported,
            report.updated,
            report.skipped,
            report.errors.len(),
            report.tenants_created,
            if report.tenants_created == 1 { "tenant" } else { "tenants" }
        ));
    }
    for error in &report.errors {
        output::note(format_args!("{name}:{}: {}", error.line, error.message));
    }
    match report.errors.len() {
        0 => Ok(()),
        1 => Err(Exit::Failed.because("1 line was refused")),
        n => Err(Exit::Failed.because(format!("{n} lines were refused"))),
    }
}
