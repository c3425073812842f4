//! `sidegate keys …`. Results on stdout: a secret is printed once, by create and rotate, and read by verify from stdin,
//! never from an argument that other users of the machine could see.

pub(crate) mod context;
pub(crate) mod export;
mod import;
mod list;
mod make;
pub(crate) mod progress;
mod revoke;
mod state;
pub(crate) mod update;
mod usage;
mod verify;
pub(crate) mod view;

use super::desk::KeyVerb;
use super::{Failure, Globals};

/// Its commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key; its secret is printed once
    Create(Box<make::Create>),
    /// List keys in the order of creation
    List(list::List),
    /// Show one key
    Show(list::Show),
    /// Change what a key may, how long it lives, what it is called
    Update(Box<update::Update>),
    /// Replace a key's secret; id, name and rights stay
    Rotate(make::Rotate),
    /// Switch a key off
    Deactivate(state::One),
    /// Switch a key on again
    Activate(state::One),
    /// Revoke keys, for ever
    Revoke(revoke::Revoke),
    /// Find the key that a secret on stdin belongs to, revoked ones too
    Verify(verify::Args),
    /// Show what a key came to by day, and what it could do without
    Usage(usage::Args),
    /// Import keys of another system from NDJSON or CSV
    Import(import::Args),
    /// Write all keys, without secrets, as import reads them
    Export(export::Args),
}

/// Runs one.
///
/// # Errors
/// With the exit code that the contract names.
pub fn run(command: &Command, globals: &Globals) -> Result<(), Failure> {
    match command {
        Command::Create(args) => make::create(args, globals),
        Command::List(args) => list::list(args, globals),
        Command::Show(args) => list::show(args, globals),
        Command::Update(args) => update::update(args, globals),
        Command::Rotate(args) => make::rotate(args, globals),
        Command::Deactivate(args) => state::change(args, KeyVerb::Deactivate, globals),
        Command::Activate(args) => state::change(args, KeyVerb::Activate, globals),
        Command::Revoke(args) => revoke::revoke(args, globals),
        Command::Verify(args) => verify::run(args, globals),
        Command::Usage(args) => usage::run(args, globals),
        Command::Import(args) => import::run(args, globals),
        Command::Export(args) => export::run(args, globals),
    }
}
