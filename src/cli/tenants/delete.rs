//! `tenants delete`: its keys are written to a file first where one is named, then they are revoked and it is suspended, every sidecar
//! has applied that, and only then its sessions end and the records go. Each step is as good twice as once: what was cut off is done by
//! the same command.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::ask::ask;
use crate::cli::desk::{self, KeyVerb, Marked, TenantVerb, text};
use crate::cli::keys::context::Access;
use crate::cli::keys::export;
use crate::cli::keys::progress::Shown;
use crate::cli::wait::confirm;
use crate::cli::{Exit, Failure, Globals, output};
use crate::config::units::Span;
use crate::key::filter::Filter;
use crate::store::Page;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The tenant
    id: String,
    /// Write its keys to this file first, without secrets, as `keys import` reads them
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
    /// How long to wait for the running sidecars before the records go; where one is late they stay
    #[arg(long, value_name = "SPAN", default_value_t = Span(Duration::from_secs(5)))]
    wait: Span,
}

pub(super) fn delete(args: &Delete, globals: &Globals) -> Result<(), Failure> {
    let mut desk = desk::open(Access::Change, globals)?;
    // An export of keys that a first attempt has revoked would replace the one that says what they were.
    if let Some(file) = args.export.as_ref().filter(|file| file.exists()) {
        return Err(Exit::Failed.because(format!("{} is there already: name another file, or leave --export out", file.display())));
    }
    let id = text(&desk.tenant(&args.id)?, "id").to_owned();
    let Page { items: keys, unreadable, .. } = desk.keys(&Filter { tenant: Some(id.clone()), ..Filter::default() }, Marked::default())?;
    // A key that is left over would be one of whoever is called so next.
    if let Some(error) = unreadable.first() {
        return Err(Exit::Failed.because(format!("nothing was deleted: {error}")));
    }
    let alive: Vec<&str> = keys.iter().filter(|key| text(key, "status") != "revoked").map(|key| text(key, "id")).collect();
    if !args.yes {
        let (all, alive) = (keys.len(), alive.len());
        let question = format!("tenant {id} has {all} keys, {alive} of them not revoked. To delete it for ever, type its id:");
        ask(&question, &id, &format!("--yes deletes tenant {id} and its {all} keys"))?;
    }
    if let Some(file) = &args.export {
        let context =
            desk.context().ok_or_else(|| Exit::Usage.because("--export writes digests, which --admin does not tell: leave one out"))?;
        let exported = export::into_file(&id, file, context, globals)?;
        if !globals.quiet {
            output::note(format_args!("{} of its keys written to {}", exported.written, file.display()));
        }
    }
    let mut progress = Shown::new(globals);
    for (done, key) in (1..).zip(&alive) {
        desk.change_key(key, KeyVerb::Revoke)?;
        progress.show("revoked", done, u64::try_from(alive.len()).ok());
    }
    drop(progress);
    // A record that is gone tells a sidecar nothing: it must know before that.
    desk.wait_for(Some(args.wait));
    desk.change_tenant(&id, TenantVerb::Suspend)?;
    let again = |late: Failure| {
        late.exit.because(format!("{}\nit is suspended and its keys are revoked; repeat the command to delete it", late.message))
    };
    confirm(&*desk, globals).map_err(again)?;
    desk.delete_tenant(&id)?;
    if globals.json {
        output::json(&serde_json::json!({ "id": id, "deleted": true, "keys": keys.len() }));
    } else if !globals.quiet {
        output::line(format_args!("{id} deleted"));
    }
    Ok(())
}
