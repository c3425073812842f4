//! What an admitted request is forwarded by. Its fields are this file's and its constructor the gate's: nobody else can make one.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use smallvec::SmallVec;

use crate::config::sections::{EnvironmentName, SelfServiceAction};
use crate::facts::Facts;
use crate::idempotency::Asked;
use crate::identity::Identity;
use crate::key::digest::Digest;
use crate::rejection::Refusal;
use crate::route::{Route, TokenEndpoint};

/// Who a permit is for.
#[derive(Debug)]
pub enum Caller {
    /// An authenticated caller.
    Known(Arc<Identity>),
    /// Anybody, on an open route.
    Nobody,
    /// Whoever an older key system says; nothing is said of anybody.
    Older,
    /// A browser that asks whether a page may ask; nothing is said of anybody.
    Preflight,
}

/// Proof that a request passed the gate. Only the gate can make one: ungated traffic does not compile.
#[derive(Debug)]
pub struct Permit {
    caller: Caller,
    upstream: usize,
    response_timeout: Option<Duration>,
    asked: Option<Box<Asked>>,
}

impl Permit {
    pub(super) const fn new(caller: Caller, upstream: usize, response_timeout: Option<Duration>) -> Self {
        Self { caller, upstream, response_timeout, asked: None }
    }

    /// The same for a request that is to be run once.
    pub(super) fn run_once(self, asked: Option<Box<Asked>>) -> Self {
        Self { asked, ..self }
    }

    /// By what the request is to be run once; `None` = it may run as often as it comes.
    #[must_use]
    pub fn into_asked(self) -> Option<Box<Asked>> {
        self.asked
    }

    /// Who is calling.
    #[must_use]
    pub const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Index of the upstream that serves the request.
    #[must_use]
    pub const fn upstream(&self) -> usize {
        self.upstream
    }

    /// Instead of the upstream's.
    #[must_use]
    pub const fn response_timeout(&self) -> Option<Duration> {
        self.response_timeout
    }
}

/// Proof that a request that Sidegate answers itself passed the gate, as a [`Permit`] is of one that is forwarded.
#[derive(Debug)]
pub struct Order {
    pub(super) action: SelfServiceAction,
    pub(super) id: Box<str>,
    pub(super) caller: Arc<Identity>,
    pub(super) key_id: Arc<str>,
    pub(super) digest: Digest,
    pub(super) asked: Option<Box<Asked>>,
    pub(super) again: Option<Refusal>,
}

impl Order {
    /// What is to be done.
    #[must_use]
    pub const fn action(&self) -> SelfServiceAction {
        self.action
    }

    /// With the key of this id; empty where the action names none.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Who is calling.
    #[must_use]
    pub const fn caller(&self) -> &Arc<Identity> {
        &self.caller
    }

    /// With which key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// By which secret.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Takes what it is to be run once by; `None` = it may run as often as it comes.
    pub fn take_asked(&mut self) -> Option<Box<Asked>> {
        self.asked.take()
    }

    /// If it may only be answered as it was answered before: how it is refused otherwise.
    #[must_use]
    pub const fn again(&self) -> Option<&Refusal> {
        self.again.as_ref()
    }
}

/// Proof that a request for tokens passed the gate, as far as it can before its body is read.
#[derive(Debug)]
pub struct Claim {
    pub(super) endpoint: TokenEndpoint,
    pub(super) caller: Option<Arc<Identity>>,
    pub(super) facts: Facts,
    pub(super) route: Arc<Route>,
    /// Those that are served there.
    pub(super) environments: SmallVec<[EnvironmentName; 2]>,
    /// What its client has shown by Basic; sensitive.
    pub(super) basic: Option<HeaderValue>,
    /// Whether a credential stands elsewhere.
    pub(super) shows_another: bool,
}

impl Claim {
    /// At which endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> TokenEndpoint {
        self.endpoint
    }

    /// Who is calling; `None` = nobody was asked for a key.
    #[must_use]
    pub const fn caller(&self) -> Option<&Arc<Identity>> {
        self.caller.as_ref()
    }

    /// Environments that are served there.
    #[must_use]
    pub fn environments(&self) -> &[EnvironmentName] {
        &self.environments
    }

    /// Whether a credential stands where clients of the endpoint show none.
    #[must_use]
    pub const fn shows_another(&self) -> bool {
        self.shows_another
    }

    /// `Authorization: Basic`, as it came.
    #[must_use]
    pub const fn basic(&self) -> Option<&HeaderValue> {
        self.basic.as_ref()
    }
}
