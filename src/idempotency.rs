//! Idempotency-Keys (product.md §8): which requests have one, what is kept of their answers, and under which names and seals.
//! Pure but for [`Ledger`], which asks the store. Keys and answers never reach a log, and the store only sealed.

mod answer;
mod fingerprint;
mod key;
mod ledger;
mod memory;
mod reservation;
mod seal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method};

use crate::config::problem::Problems;
use crate::config::sections::{self, Config, IdempotencyMode};
use crate::facts::Facts;
use crate::facts::path::CanonicalPath;
use crate::identity::{Bearer, Identity};
use crate::net::client::ClientAddr;
use crate::rejection::{Refusal, Rejection};
use crate::route::Route;
pub use answer::Answer;
pub use fingerprint::Fingerprint;
pub use key::Key;
pub use ledger::{Begun, Counters, Ledger};
pub use memory::{Memory, Taken};
pub use reservation::{Outcome, Reservation};
pub use seal::{Holder, Roots, Scope, Ticket};

/// The kind whose keys only servers have. Callers with any other may be told apart by their address alone.
const SECRET: &str = "secret";
/// Largest `max_body`: what is kept of one request is copied, sealed and sent at once. No more than a tenant's share of the memory.
const MAX_BODY: u64 = 32 << 20;
/// Bytes that a tenant has kept are counted in so many steps of `ttl`.
const GRAINS: u32 = 64;

/// `[idempotency]`, compiled; there is none where it is off.
#[derive(Debug)]
pub struct Rules {
    required: bool,
    methods: Box<[Method]>,
    header: HeaderName,
    ttl: Duration,
    max_body: u64,
    lease: Duration,
    max_stored: u64,
}

/// A request that has a key, and is run once.
#[derive(Debug)]
pub struct Asked {
    rules: Arc<Rules>,
    ticket: Ticket,
    /// Of the head; the body is to be added.
    pub fingerprint: Fingerprint,
}

impl Rules {
    /// Compiles the section; `None` after an error, `Some(None)` where it is off.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Option<Arc<Self>>> {
        let section = &config.idempotency;
        if section.mode == IdempotencyMode::Off {
            return Some(None);
        }
        let errors = problems.list().len();
        let methods: Vec<Method> = (0..).zip(&section.methods).filter_map(|(index, name)| method(index, name, problems)).collect();
        if section.methods.is_empty() {
            problems.error("idempotency.methods", "an empty `methods` would protect nothing").help("mode = \"off\" says so");
        }
        // Bad names are reported where all configured header names are checked.
        let header = HeaderName::from_bytes(section.header.as_bytes()).ok();
        for (path, span) in [("idempotency.ttl", section.ttl), ("idempotency.lock_timeout", section.lock_timeout)] {
            if span.0 < Duration::from_secs(1) {
                problems.error(path, format!("`{span}` is too short: at least 1s"));
            }
        }
        if section.lock_timeout > section.ttl {
            problems.error("idempotency.lock_timeout", "the lease of a running request cannot be longer than `ttl`");
        }
        if section.max_body.0 > MAX_BODY {
            problems.error("idempotency.max_body", "at most 32MiB: bodies of this size are held in memory and sent to the store");
        }
        let sound = problems.list().len() == errors;
        let rules = Self {
            required: section.mode == IdempotencyMode::Required,
            methods: methods.into(),
            header: header?,
            ttl: section.ttl.0,
            max_body: section.max_body.0,
            lease: section.lock_timeout.0,
            max_stored: section.max_stored_per_tenant.0,
        };
        sound.then(|| Some(Arc::new(rules)))
    }

    /// Step 11, as far as it needs no store: the key of a request that is to be run once; `None` = it may run as often as it comes.
    ///
    /// # Errors
    /// `idempotency_key_missing`, `idempotency_key_invalid`.
    pub fn ask(
        self: &Arc<Self>,
        identity: &Identity,
        client: ClientAddr,
        facts: &Facts,
        route: &Route,
        headers: &HeaderMap,
    ) -> Result<Option<Box<Asked>>, Refusal> {
        if route.idempotency_off || !self.methods.contains(&facts.method) {
            return Ok(None);
        }
        let Some(key) = Key::find(headers, &self.header)? else {
            return if self.required { Err(Rejection::IdempotencyKeyMissing.into()) } else { Ok(None) };
        };
        let scope = match &identity.bearer {
            Bearer::Key { kind, .. } => Scope::new(&identity.tenant_id, identity.environment, kind, (**kind != *SECRET).then_some(client)),
            // Each user has keys of their own; those without a name are told apart as callers with a public key are.
            Bearer::Token { credential, issuer, subject } => {
                let who = format!("{}\0{issuer}\0{subject}", credential.name());
                Scope::new(&identity.tenant_id, identity.environment, &who, subject.is_empty().then_some(client))
            }
            Bearer::Client { issuer, key } => {
                let who = format!("{}\0{issuer}\0{}", identity.credential().name(), key.id);
                Scope::new(&identity.tenant_id, identity.environment, &who, None)
            }
        };
        let fingerprint = Fingerprint::of_head(&facts.method, &facts.path);
        Ok(Some(Box::new(Asked { rules: Arc::clone(self), ticket: Ticket { scope, key, holder: None }, fingerprint })))
    }

    /// The same for the management API, whatever the mode: who sends a key there is protected.
    #[must_use]
    pub fn of_management(section: &sections::Idempotency, header: HeaderName) -> Arc<Self> {
        Arc::new(Self {
            required: true,
            methods: Box::new([Method::POST]),
            header,
            ttl: section.ttl.0,
            max_body: MAX_BODY,
            lease: section.lock_timeout.0,
            max_stored: section.max_stored_per_tenant.0,
        })
    }

    /// What a token of the management API asks for, if that is to be done once.
    ///
    /// # Errors
    /// `idempotency_key_invalid`; a path that no request may have.
    pub fn ask_for_token(self: &Arc<Self>, actor: &str, holder: Holder, head: &http::request::Parts) -> Result<Option<Asked>, Refusal> {
        if !self.methods.contains(&head.method) {
            return Ok(None);
        }
        let Some(key) = Key::find(&head.headers, &self.header)? else { return Ok(None) };
        let target = head.uri.path_and_query().cloned().ok_or(Rejection::RequestInvalid)?;
        let fingerprint = Fingerprint::of_head(&head.method, &CanonicalPath::parse(target)?);
        Ok(Some(Asked {
            rules: Arc::clone(self),
            ticket: Ticket { scope: Scope::of_token(actor), key, holder: Some(holder) },
            fingerprint,
        }))
    }

    /// What `explain` says of it.
    #[must_use]
    pub fn describe(&self, headers: &HeaderMap) -> String {
        let sent = if headers.contains_key(&self.header) { "sent" } else { "not sent" };
        let methods: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        let asked = if self.required { "required" } else { "optional" };
        format!("{} {sent}; {asked} for {}", self.header, methods.join(", "))
    }
}

fn method(index: usize, name: &str, problems: &mut Problems) -> Option<Method> {
    let path = format!("idempotency.methods[{index}]");
    match Method::from_bytes(name.as_bytes()) {
        // They ask for no change (RFC 9110 §9.2.1), and a WebSocket begins with one.
        Ok(Method::GET | Method::HEAD | Method::OPTIONS) => {
            problems.error(path, format!("{name} changes nothing: it may run as often as it comes")).help("POST, PUT, PATCH or DELETE");
            None
        }
        Ok(method) => Some(method),
        Err(_) => {
            problems.error(path, format!("`{}` is not a method", name.escape_debug()));
            None
        }
    }
}

impl Asked {
    /// The same, for an answer that nobody but this holder may have again.
    #[must_use]
    pub fn only_for(mut self: Box<Self>, holder: Option<Holder>) -> Box<Self> {
        self.ticket.holder = holder;
        self
    }

    /// Whether the request may not run without it.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.rules.required
    }

    /// On whose account it is kept.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.ticket.scope.tenant()
    }

    /// Longest body, of the request and of what is kept of its answer.
    #[must_use]
    pub fn max_body(&self) -> u64 {
        self.rules.max_body
    }
}
