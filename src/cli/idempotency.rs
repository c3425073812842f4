//! `sidegate idempotency …`: what is kept of a request that was to be run once, and how to have it run again. The store knows it by
//! a name that is made of tenant, environment and Idempotency-Key: all of them must be given.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::keys::context::{Access, Context};
use super::keys::view;
use super::{Exit, Failure, Globals, output};
use crate::idempotency::{Answer, Key, Roots, Scope, Ticket};
use crate::key::lifecycle::LifecycleError;
use crate::net::client::ClientAddr;
use crate::store;
use crate::store::reservation::{Place, Released, Reservations, Reserved, Standing};

/// Its commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what is kept of a request
    Show(Which),
    /// Forget a request whose outcome is unknown, or its answer: the next one with this key runs
    Release(Which),
}

/// Which request.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Its tenant
    #[arg(long, value_name = "ID")]
    tenant: String,
    /// Environment of the API key it came with
    #[arg(long, default_value = "live")]
    env: String,
    /// Kind of that API key
    #[arg(long, default_value = "secret")]
    kind: String,
    /// Address of its client, for another kind than secret
    #[arg(long, value_name = "ADDRESS")]
    client: Option<IpAddr>,
    /// Its Idempotency-Key, as it was sent
    key: String,
}

/// Runs one.
///
/// # Errors
/// `Exit::NotFound` where nothing is kept, `Exit::Conflict` where the request still runs.
pub fn run(command: &Command, globals: &Globals) -> Result<(), Failure> {
    let (Command::Show(which) | Command::Release(which)) = command;
    let access = if matches!(command, Command::Show(_)) { Access::Read } else { Access::Change };
    let context = Context::open(access, globals)?;
    let own = context.run(async { Ok(store::open_reservations(&context.config, &context.clock).await) })?;
    let own = own.map_err(|why| Exit::Configuration.because(format!("[idempotency]: {why}")))?;
    let reservations = own.unwrap_or_else(|| Arc::clone(&context.reservations));
    let (ticket, roots) = (which.ticket(&context)?, Roots::new(&context.lifecycle.peppers));
    let place = roots.place(&ticket);
    match command {
        Command::Show(_) => {
            let found = context.run(async { reservations.look(&place).await.map_err(LifecycleError::from) })?;
            let reserved = found.ok_or_else(|| Exit::NotFound.because("nothing is kept of such a request"))?;
            show(&reserved, &roots, &ticket, &place, globals);
            Ok(())
        }
        Command::Release(_) => release(&*reservations, &place, &context, globals),
    }
}

impl Which {
    fn ticket(&self, context: &Context) -> Result<Ticket, Failure> {
        let is_known = context.config.key_kinds.iter().any(|kind| kind.name == self.kind);
        let usage = |why: String| Exit::Usage.because(why);
        if !is_known {
            return Err(usage(format!("no kind of keys is called `{}`", self.kind)));
        }
        let is_secret = self.kind == "secret";
        if is_secret && self.client.is_some() {
            return Err(usage("--client is for another kind than secret: requests with secret keys are not told apart by it".to_owned()));
        }
        let client = (!is_secret).then_some(ClientAddr(self.client));
        let key = Key::parse(self.key.as_bytes()).map_err(|why| usage(format!("not an Idempotency-Key: {why}")))?;
        Ok(Ticket { scope: Scope::new(&self.tenant, context.environment(&self.env)?, &self.kind, client), key, holder: None })
    }
}

/// Everything but the answer itself.
fn show(reserved: &Reserved, roots: &Roots, ticket: &Ticket, place: &Place, globals: &Globals) {
    let mut shown = Map::new();
    shown.insert("state".into(), json!(reserved.standing));
    if globals.quiet {
        return output::line(shown.get("state").and_then(Value::as_str).unwrap_or_default());
    }
    shown.insert("claimed_at".into(), json!(reserved.claimed_at));
    shown.insert("expires_at".into(), json!(reserved.expires_at));
    if reserved.standing == Standing::Done {
        let answer = roots.open(ticket, place, &reserved.sealed).and_then(Answer::decode);
        shown.insert("status".into(), json!(answer.as_ref().map(|answer| answer.status.as_u16())));
        shown.insert("body_bytes".into(), json!(answer.as_ref().map(|answer| answer.body.len())));
    }
    view::print(&shown, globals);
}

fn release(reservations: &dyn Reservations, place: &Place, context: &Context, globals: &Globals) -> Result<(), Failure> {
    match context.run(async { reservations.release(place).await.map_err(LifecycleError::from) })? {
        Released::Released => {
            if !globals.quiet {
                output::note("released: the next request with this key runs");
            }
            Ok(())
        }
        Released::Running => Err(Exit::Conflict.because("it runs: wait until it has ended, or until its lease is over")),
        Released::Absent => Err(Exit::NotFound.because("nothing is kept of such a request")),
    }
}
