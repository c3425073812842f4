//! Where the work of a command is done: on the store itself, or by a running instance, over its management API. The commands do not
//! know which: the same verbs, the same records, the same exit codes.

mod client;
mod here;
mod there;

pub(super) use here::Here;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::edit::{Edit, Terms};
use super::keys::context::{Access, Context};
use super::wait::Confirmation;
use super::{Exit, Failure, Globals};
use crate::audit::{Event, Query};
use crate::clock::Timestamp;
use crate::config::sections::EnvironmentName;
use crate::config::units::Span;
use crate::explain::Explanation;
use crate::key::filter::Filter;
use crate::key::lifecycle::NewKey;
use crate::store::Page;
use crate::store::usage::{Denial, DenialFilter};
use crate::tenant::lifecycle::NewTenant;

/// A record as people are shown it.
pub(super) type Shown = Map<String, Value>;

/// What is done to a key by its id alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyVerb {
    Activate,
    Deactivate,
    Revoke,
    EndOverlap,
}

/// What is done to a tenant by its id alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenantVerb {
    Suspend,
    Resume,
}

/// Which of the keys that a filter admits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marked {
    pub(super) attention: bool,
    pub(super) due: bool,
}

/// What is asked of usage.
#[derive(Debug, Clone, Copy)]
pub(super) enum UsageOf<'a> {
    Key(&'a str),
    Tenant(&'a str),
}

/// A record before and after a change, and what its maker should know.
pub(super) struct Changed {
    pub(super) before: Terms,
    pub(super) after: Terms,
    pub(super) shown: Shown,
    pub(super) hints: Vec<String>,
}

/// Where the work is done.
pub(super) trait Desk {
    /// The environment of this name, or label where the configuration is at hand.
    fn environment(&self, word: &str) -> Result<EnvironmentName, Failure>;

    /// Makes a key: it with its secret, and what its maker should know.
    fn create_key(&self, new: NewKey) -> Result<(Shown, Vec<String>), Failure>;
    /// All of them, and which are left out because they cannot be read.
    fn keys(&self, filter: &Filter, marked: Marked) -> Result<Page<Shown>, Failure>;
    fn key(&self, id: &str) -> Result<Shown, Failure>;
    /// `expires` as people write it.
    fn update_key(&self, id: &str, version: Option<u64>, edit: &Edit, expires: Option<&str>) -> Result<Changed, Failure>;
    /// The key with its new secret.
    fn rotate(&self, id: &str, overlap: Option<Span>) -> Result<Shown, Failure>;
    fn change_key(&self, id: &str, verb: KeyVerb) -> Result<Shown, Failure>;
    /// The key that has, or had, this secret, and which that is.
    fn look_up(&self, secret: &SecretString) -> Result<Shown, Failure>;
    /// Days, total, and what else was counted.
    fn usage(&self, of: UsageOf<'_>, days: u16) -> Result<Value, Failure>;

    fn create_tenant(&self, new: NewTenant) -> Result<Shown, Failure>;
    fn tenants(&self) -> Result<Vec<Shown>, Failure>;
    fn tenant(&self, id: &str) -> Result<Shown, Failure>;
    fn update_tenant(&self, id: &str, version: Option<u64>, edit: &Edit) -> Result<Changed, Failure>;
    fn change_tenant(&self, id: &str, verb: TenantVerb) -> Result<Shown, Failure>;
    /// One that is suspended and whose keys are revoked.
    fn delete_tenant(&self, id: &str) -> Result<(), Failure>;

    /// Of this tenant and this subject, where they are said.
    fn sessions(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<Vec<Shown>, Failure>;
    fn revoke_session(&self, id: &str) -> Result<Shown, Failure>;
    /// All of those that [`Self::sessions`] has. How many were not over before.
    fn revoke_sessions(&self, tenant: Option<&str>, subject: Option<&str>) -> Result<usize, Failure>;

    fn events(&self, query: &Query<'_>) -> Result<Page<Event>, Failure>;
    fn denials(&self, filter: &DenialFilter, limit: usize) -> Result<Vec<Denial>, Failure>;
    /// The store, the sidecar that is asked, and all that serve from the store.
    fn status(&self) -> Result<Value, Failure>;

    /// From now on changes are to be confirmed by every running sidecar, within this time.
    fn wait_for(&mut self, patience: Option<Span>);
    /// How far what was changed has got; `None` = nothing was changed, or nobody waits.
    fn confirmation(&self) -> Result<Option<Confirmation>, Failure>;
    /// That fewer replicas than wanted have it, in words.
    fn unreplicated(&self) -> Option<String>;

    fn now(&self) -> Timestamp;
    /// The store itself, where it is at hand.
    fn context(&self) -> Option<&Context>;
}

/// The desk that the flags ask for.
pub(super) fn open(access: Access, globals: &Globals) -> Result<Box<dyn Desk>, Failure> {
    match &globals.admin {
        None => Ok(Box::new(Here::new(Context::open(access, globals)?))),
        Some(url) => Ok(Box::new(there::There::open(url, globals)?)),
    }
}

/// How the running instance that the flags name would judge a request; `None` = they name none.
pub(super) fn explained(asked: &Value, globals: &Globals) -> Option<Result<Explanation, Failure>> {
    let url = globals.admin.as_ref()?;
    Some(there::There::open(url, globals).and_then(|there| there.explain(asked)))
}

impl KeyVerb {
    /// The word in a path of the management API.
    const fn word(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Revoke => "revoke",
            Self::EndOverlap => "end-overlap",
        }
    }
}

/// What a record says under a name, or nothing.
pub(super) fn text<'a>(shown: &'a Shown, name: &str) -> &'a str {
    shown.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn unknown_environment(word: &str, known: &str) -> Failure {
    Exit::Usage.because(format!("no environment `{word}`: {known}"))
}
