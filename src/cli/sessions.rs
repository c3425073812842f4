//! `sidegate sessions …`: who is logged in, and the end of that. Tokens are given by `POST /admin/v1/sessions` alone.

use super::desk::{self, text};
use super::keys::context::Access;
use super::keys::view;
use super::wait::{Wait, confirm};
use super::{Exit, Failure, Globals, output};

/// Its commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List sessions in the order of their beginning
    List(List),
    /// End sessions, and with them their access tokens
    Revoke(Revoke),
}

/// Flags of `sessions list`.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Of this subject
    #[arg(long)]
    subject: Option<String>,
}

/// Flags of `sessions revoke`.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The sessions
    #[arg(required_unless_present_any = ["subject", "tenant", "all"], conflicts_with_all = ["subject", "tenant", "all"], value_name = "ID")]
    ids: Vec<String>,
    /// All of this subject; with --tenant, of both
    #[arg(long)]
    subject: Option<String>,
    /// All of this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// All that there are
    #[arg(long, conflicts_with_all = ["subject", "tenant"])]
    all: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Runs one.
///
/// # Errors
/// With the exit code that the contract names.
pub fn run(command: &Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args, globals),
        Command::Revoke(args) => revoke(args, globals),
    }
}

fn list(args: &List, globals: &Globals) -> Result<(), Failure> {
    let sessions = desk::open(Access::Read, globals)?.sessions(args.tenant.as_deref(), args.subject.as_deref())?;
    view::print_list(&sessions, &["id", "tenant", "subject", "environment", "status", "created_at", "expires_at"], globals);
    Ok(())
}

fn revoke(args: &Revoke, globals: &Globals) -> Result<(), Failure> {
    let mut desk = desk::open(Access::Change, globals)?;
    desk.wait_for(args.wait.wait);
    if args.ids.is_empty() {
        let revoked = desk.revoke_sessions(args.tenant.as_deref(), args.subject.as_deref())?;
        if globals.json {
            output::json(&serde_json::json!({ "revoked": revoked }));
        } else if !globals.quiet {
            output::line(format_args!("{revoked} revoked"));
        }
        return confirm(&*desk, globals);
    }
    let (mut shown, mut exit) = (Vec::new(), None);
    for id in &args.ids {
        match desk.revoke_session(id) {
            Ok(session) => {
                if !globals.json && !globals.quiet {
                    output::line(format_args!("{} {}", text(&session, "id"), text(&session, "status")));
                }
                shown.push(session);
            }
            Err(error) if error.exit == Exit::Unreachable => return Err(error),
            // One that is not there keeps no other alive.
            Err(error) => {
                output::note(format_args!("sidegate: {}", error.message));
                exit.get_or_insert(error.exit);
            }
        }
    }
    if globals.json {
        output::json(&shown);
    }
    confirm(&*desk, globals)?;
    exit.map_or(Ok(()), |exit| Err(exit.because("")))
}
