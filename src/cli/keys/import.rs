//! `keys import`: many keys of another system, or of another Sidegate.

use std::path::{Path, PathBuf};

use super::context::{Access, Context};
use super::progress::Shown;
use crate::cli::desk::{Desk as _, Here};
use crate::cli::wait::{Wait, confirm};
use crate::cli::{Exit, Failure, Globals, output};
use crate::key::import::{ImportError, Input, OnConflict, Options, Origin, Progress, Report, STDOUT};

const HELP: &str = "\
Fields of a line (NDJSON), or columns under a header (CSV): `tenant`, and `key` or `digest`. These may be left out: id, name, \
environment, kind, prefix, last4, scopes, ip_allowlist, referrers, endpoints, rate_limit, status, expires_at, created_at, created_by, \
rotated_at, last_used, last_used_from, exposed, metadata, native.

A digest is sha256:HEX, sha256-base64:…, or hmac-sha256:HEX as a table with the same pepper exported it. Digests need \
checksum = \"optional\" on their [[key_kinds]], or native = true: the keys have the checksum of the native format.

In CSV, scopes, ip_allowlist and referrers are separated by spaces, endpoints by ; and `none` is an allowlist without entries. \
metadata is JSON, or meta.NAME a column of its own. An empty cell is an absent field.

--from unkey: keys as its API lists or migrates them, one a line. The tenant is externalId or ownerId, scopes are permissions and \
roles. Keys with limits (credits, ratelimits, …) are refused, for the limits would be lost.

--from kong: key-auth credentials, one a line; the tenant is the consumer's username, custom_id or id.
  curl …/key-auths | jq -c '.data[]'
  deck gateway dump --format json -o - |
    jq -c '.consumers[] | . as $c | .keyauth_credentials[]? + {consumer: $c | {username, custom_id}}'

The file is read once, and checked as a whole before anything is written. Between the two passes only digests are kept, in an \
unnamed temporary file (about 600 bytes a key, in TMPDIR). An import that was interrupted is run again with --resume: what it wrote \
is found by id or digest and stays, the rest is written. Refused lines are kept with their reasons, without their secrets.";

/// Flags of `keys import`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// NDJSON or CSV, - for stdin
    file: PathBuf,
    /// Whose objects the file holds
    #[arg(long, value_enum, default_value_t = Origin::Sidegate)]
    from: Origin,
    /// Tenant of the keys whose lines name none
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Make tenants that are not there
    #[arg(long)]
    create_tenants: bool,
    /// What becomes of keys that are there already
    #[arg(long, value_enum, default_value_t = OnConflict::Fail)]
    on_conflict: OnConflict,
    /// Go on with an import that was interrupted: keys that are there exactly as the file says are no conflict
    #[arg(long)]
    resume: bool,
    /// Only check the file against the store
    #[arg(long)]
    dry_run: bool,
    /// Where refused lines are written, - for stdout [default: FILE.rejected.ndjson; with --dry-run nowhere]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    wait: Wait,
}

pub(super) fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let rejects = rejects(args)?;
    let input = Input::open(&args.file).map_err(|error| Exit::Failed.because(format!("{}: {error}", args.file.display())))?;
    let access = if args.dry_run { Access::Read } else { Access::Make };
    let mut here = Here::new(Context::open_for_bulk(access, globals)?);
    here.wait_for(args.wait.wait);
    let context = &here.context;
    let options = Options {
        create_tenants: args.create_tenants,
        on_conflict: args.on_conflict,
        resume: args.resume,
        dry_run: args.dry_run,
        origin: args.from,
        tenant: args.tenant.as_deref(),
        rejects,
        kinds: &context.config.key_kinds,
    };
    let name = input.name().to_owned();
    let mut shown = Shown::new(globals);
    let mut watch = |progress| match progress {
        Progress::Checked { rows, bytes, of } => {
            // The rows that there will be, if those to come are like those before.
            let total = of.map(|of| u128::from(rows) * u128::from(of) / u128::from(bytes.max(1)));
            shown.show("checking", rows, total.and_then(|total| u64::try_from(total).ok()));
        }
        Progress::Written { rows, of } => shown.show("writing", rows, Some(of)),
    };
    let imported = context.run(async { Ok(context.lifecycle.import(input, &options, &mut watch).await) })?;
    drop(shown);
    match imported {
        Ok(report) => {
            print(&report, &name, args.dry_run, globals);
            confirm(&here, globals)?;
            verdict(&report)
        }
        Err(ImportError::File(why)) => Err(Exit::Failed.because(why)),
        Err(ImportError::Lifecycle(error)) => Err(error.into()),
        Err(ImportError::Interrupted { why, report }) => {
            print(&report, &name, args.dry_run, globals);
            let failure = match *why {
                ImportError::Lifecycle(error) => Failure::from(error),
                why @ (ImportError::File(_) | ImportError::Interrupted { .. }) => Exit::Failed.because(why.to_string()),
            };
            Err(failure
                .exit
                .because(format!("interrupted: {}\nwhat was written stays; the same command with --resume goes on", failure.message)))
        }
    }
}

/// Where refused lines go; never into the file that they are from.
fn rejects(args: &Args) -> Result<Option<PathBuf>, Failure> {
    let same = |path: &Path| path.canonicalize().is_ok_and(|path| args.file.canonicalize().is_ok_and(|file| file == path));
    match &args.rejects {
        Some(path) if same(path) => Err(Exit::Usage.because("--rejects names the file that is imported")),
        Some(path) => Ok(Some(path.clone())),
        None if args.dry_run => Ok(None),
        None if args.file.as_os_str() == "-" => Ok(Some("stdin.rejected.ndjson".into())),
        None => {
            let mut path = args.file.clone().into_os_string();
            path.push(".rejected.ndjson");
            Ok(Some(path.into()))
        }
    }
}

fn print(report: &Report, name: &str, dry_run: bool, globals: &Globals) {
    if globals.json {
        output::json(report);
    } else if !globals.quiet {
        output::line(format_args!(
            "{}{} imported, {} updated, {} skipped, {} refused, {} {} made",
            if dry_run { "dry run: " } else { "" },
            report.imported,
            report.updated,
            report.skipped,
            report.refused,
            report.tenants_created,
            if report.tenants_created == 1 { "tenant" } else { "tenants" }
        ));
    }
    for error in &report.errors {
        output::note(format_args!("{name}:{}: {}", error.line, error.message));
    }
    let told = report.errors.len() as u64;
    if report.refused > told {
        output::note(format_args!("… and {} more", report.refused - told));
    }
}

fn verdict(report: &Report) -> Result<(), Failure> {
    let refused = match report.refused {
        0 => return Ok(()),
        1 => "1 line was refused".to_owned(),
        n => format!("{n} lines were refused"),
    };
    Err(Exit::Failed.because(match &report.rejects {
        Some(path) if path.as_os_str() != STDOUT => format!("{refused}: {}", path.display()),
        Some(_) | None => refused,
    }))
}
