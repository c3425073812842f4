//! The page to read first: the order in which a request is judged. The order is a security property and lives here,
//! not in configuration. Each step is a file of its own; this one only sequences, and makes the [`Permit`] that forwarding needs.

mod anonymous;
mod key;
mod lenience;
mod limited;
mod older;
mod once;
mod own;
mod parts;
mod permit;
mod rules;
pub mod seen;
mod spared;
mod token;
mod tokens;
pub mod trace;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::authn::{Authenticator, Issuers};
use crate::clock::Timestamp;
use crate::config::sections::{BrowserRule, EnvironmentName};
use crate::credential::Credential;
use crate::facts::{Facts, RequestId, is_preflight};
use crate::identity::Identity;
use crate::key::record::KeyRecord;
use crate::limit::{Counts, Desk};
use crate::net::client::ClientAddr;
use crate::net::{Peer, is_private};
use crate::policy::{self, CHECKS, Case, browser};
use crate::rejection::{Refusal, Rejection};
use crate::route::Route;
use crate::route::table::Captures;
pub use lenience::{Lenience, SPARED};
use older::Older;
pub use permit::{Caller, Claim, Order, Permit};
pub use rules::Rules;
pub use seen::Seen;
pub use spared::Spared;
use trace::{Note, Step, Trace, Verdict};

/// What the gate knows of the connection a request came on.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The other end.
    pub peer: Peer,
    /// Its address, as it is told to upstreams with every request.
    pub address: Option<HeaderValue>,
    /// Whether it is TLS (`X-Forwarded-Proto`).
    pub tls: bool,
    /// Whether the other end is a gateway that only asks, and forwards itself.
    pub asks: bool,
}

impl Connection {
    /// One to this peer.
    #[must_use]
    pub fn new(peer: Peer, tls: bool) -> Self {
        let address = match peer {
            Peer::Ip(ip) => HeaderValue::try_from(ip.to_string()).ok(),
            Peer::Unix => None,
        };
        Self { peer, address, tls, asks: false }
    }

    /// One to a gateway that asks.
    #[must_use]
    pub fn of_gateway(self) -> Self {
        Self { asks: true, ..self }
    }
}

/// Where the credential comes from.
#[derive(Debug, Clone, Copy)]
pub enum Presented<'a> {
    /// The request carries it.
    InHeaders,
    /// `explain --key`: as if the key of this record had been sent.
    Record(&'a KeyRecord),
}

/// What the gate decided, other than a refusal.
#[derive(Debug)]
pub enum Admitted {
    /// Forward it; only `forward::rewrite` can use the permit.
    Forward(Permit),
    /// Do what it asks for: it manages keys.
    Manage(Box<Order>),
    /// Give it tokens.
    Issue(Box<Claim>),
    /// Tell this document, JSON.
    Tell(Bytes),
    /// A CORS preflight that Sidegate answers itself: 204 with these headers.
    Preflight(HeaderMap),
}

/// The gate: rules, and who can tell who is calling.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    authenticator: Arc<Authenticator>,
    counts: Arc<Counts>,
}

impl Gate {
    /// A gate by these rules.
    #[must_use]
    pub fn new(rules: Rules, authenticator: Arc<Authenticator>, desk: Arc<Desk>) -> Self {
        Self { rules, authenticator, counts: Arc::new(Counts::new(desk)) }
    }

    /// What an earlier gate has seen counts on, where its rule is still the same.
    pub fn follow(&mut self, earlier: &Self) {
        if self.rules.guard.has_rule_of(&earlier.rules.guard) {
            self.rules.guard = Arc::clone(&earlier.rules.guard);
        }
        self.rules.issuers = self.rules.issuers.follow(&earlier.rules.issuers);
        earlier.counts.move_to(&self.counts);
        self.counts = Arc::clone(&earlier.counts);
        self.rules.limits.follow(&earlier.rules.limits);
    }

    /// Its issuers' keys are kept fresh from now on.
    pub fn keep_keys(&self) {
        self.authenticator.keep_keys(&self.rules.issuers);
    }

    /// Who may issue tokens.
    #[must_use]
    pub const fn issuers(&self) -> &Arc<Issuers> {
        &self.rules.issuers
    }

    /// Who can tell who is calling.
    #[must_use]
    pub const fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    /// Judges a request. Ready on the first poll for a cached credential.
    ///
    /// # Errors
    /// The refusal; what is known of the caller is in `seen`.
    pub async fn decide(&self, head: &mut Parts, connection: &Connection, now: Timestamp, seen: &mut Seen) -> Result<Admitted, Refusal> {
        self.judge(head, Presented::InHeaders, connection, now, seen, &mut ()).await
    }

    /// The same, watched.
    ///
    /// # Errors
    /// As [`Self::decide`].
    pub async fn judge<T: Trace>(
        &self,
        head: &mut Parts,
        presented: Presented<'_>,
        connection: &Connection,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<Admitted, Refusal> {
        // Who stands there is settled before anything the client wrote is looked at.
        seen.client = if connection.asks && !self.rules.trust.is_told(&head.headers) {
            // Whoever asks is never whose request it is.
            ClientAddr(None)
        } else {
            self.rules.trust.client(connection.peer, &head.headers)
        };
        trace.pass(Step::Client, || Note::new(format!("peer {}, client {}", connection.peer, seen.client)).at("client_ip"));
        let facts = trace.judge(Step::Facts, Facts::parse(head), || Note::new(format!("{} {}", head.method, head.uri)))?;
        if is_preflight(&facts.method, &head.headers) {
            return self.preflight(head, &facts, now, seen, trace).await;
        }
        let (route, captures) = self.route(&facts, seen, trace)?;
        if let Some(endpoint) = route.tokens.filter(|_| route.open) {
            return self.open_endpoint(endpoint, head, &facts, route, now, seen, trace).await;
        }
        if let Some(document) = &route.document {
            return self.tell(document, route, now, seen, trace).await;
        }
        if route.open {
            return self.open(head, route, Caller::Nobody, now, seen, trace).await;
        }
        let holder = self.holder(route, head);
        let mut older = self.older(head, now);
        let identified = self.identify(presented, connection, (&facts, route), older.as_deref_mut(), head, now, seen, trace).await;
        let (identity, upstream) = match identified {
            Ok(identified) => identified,
            // `explain` judges what a caller may do, and check mode answers nothing itself.
            Err(refusal) if own::may_be_again(route, &refusal) && !T::THOROUGH && !connection.asks => {
                let request = own::Request { head, facts: &facts, route, captures: &captures };
                return Box::pin(self.ask_again(holder, request, refusal, now, seen)).await;
            }
            Err(refusal) => return self.pass_on(refusal, older, (&facts, route), head, now, seen, trace).await,
        };
        seen.identity = Some(Arc::clone(&identity));
        let mut verdict = self.authorize(&identity, &facts, route, &captures, head, now, seen, trace);
        // Last: nothing that is refused anyway is counted.
        if verdict.is_ok() || T::THOROUGH {
            verdict = verdict.and(self.limit(Some(&identity), route, now, seen, trace).await);
        }
        verdict?;
        let asked = if connection.asks { None } else { self.ask_once(&identity, &facts, route, head, seen, trace)? };
        if let Some(action) = route.own {
            return own::order(action, &captures, identity, seen, asked.map(|asked| asked.only_for(holder)), None);
        }
        if let Some(endpoint) = route.tokens {
            return Ok(Admitted::Issue(Box::new(self.claim(endpoint, Some(identity), &facts, route))));
        }
        Ok(Admitted::Forward(Permit::new(Caller::Known(identity), upstream, route.response_timeout).run_once(asked)))
    }

    /// The route, and whether the path may be written as it is. A key in the query would be in every log on its way.
    fn route<'g, 'f, T: Trace>(
        &'g self,
        facts: &'f Facts,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<(&'g Arc<Route>, Captures<'f>), Refusal> {
        let (route, captures) = self.rules.routes.find(&facts.method, &facts.path);
        seen.route = route.matched.then(|| Arc::clone(route));
        let encoded = match facts.path.encoded().beyond(route.allow_encoded) {
            Some(encoding) => Err(Rejection::RequestInvalid
                .because(format!("{encoding} in the path; allow_encoded = [\"{encoding}\"] on the route would allow it"))),
            None => Ok(()),
        };
        let note = || {
            if route.matched {
                Note::new(format!("route {} ({})", route.name, route.template)).at(&route.path)
            } else {
                let near = self.rules.routes.near_miss(&facts.method, &facts.path).unwrap_or_default();
                Note::new(format!("no route matches{near}")).at("routing.unmatched")
            }
        };
        trace.judge(Step::Route, encoded, note)?;
        if facts.path.query().is_some_and(|query| self.rules.credentials.in_query(query)) {
            return trace.judge(Step::Credential, Err(Rejection::RequestInvalid.because("an API key in the query")), || Note::new("query"));
        }
        Ok((route, captures))
    }

    /// Steps 4 to 7: what is presented, taken off the request, and who that is; and the upstream of its environment.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn identify<'g, T: Trace>(
        &'g self,
        presented: Presented<'_>,
        connection: &Connection,
        (facts, route): (&Facts, &Route),
        older: Option<&mut Older<'g>>,
        head: &mut Parts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<(Arc<Identity>, usize), Refusal> {
        let found = match presented {
            Presented::InHeaders => self.rules.credentials.take(&mut head.headers),
            Presented::Record(record) => self.rules.credentials.stand_in(record).map(Credential::Key),
        };
        seen.credential_sent = !matches!(&found, Err(refusal) if refusal.rejection == Rejection::CredentialMissing);
        let place = found.as_ref().ok().and_then(|credential| credential.header().cloned());
        let note = || Note::new(place.map_or_else(|| format!("looked in {}", self.rules.credentials), |header| format!("in {header}")));
        match trace.judge(Step::Credential, found, || note().at("credentials.sources"))? {
            Credential::Key(key) => {
                seen.presented(&key);
                // From the prefix alone: a key of another environment costs no look-up.
                let prefix = || format!("key ({}…)", key.prefix.text);
                let upstream = self.environment(key.prefix.environment, prefix, facts, route, trace)?;
                if let Some(older) = older {
                    older.claim(key.prefix, upstream);
                }
                let identity = match presented {
                    Presented::InHeaders => self.authenticate(&key, connection, head, now, seen, trace).await?,
                    Presented::Record(record) => {
                        let verdict = self.authenticator.of_record(record, now).await;
                        trace.judge(Step::Authentication, verdict, || Note::new(format!("record of {}", record.id)))?
                    }
                };
                Ok((identity, upstream))
            }
            Credential::Token(token) => {
                let identity = self.verify(&token, connection, head, now, seen, trace).await?;
                // Nothing is known of it before it is verified.
                let upstream = self.environment(identity.environment, || "token".to_owned(), facts, route, trace)?;
                Ok((identity, upstream))
            }
        }
    }

    /// Step 5: the environment that a key claims to be of, or that a token is of.
    fn environment<T: Trace>(
        &self,
        name: EnvironmentName,
        what: impl Fn() -> String,
        facts: &Facts,
        route: &Route,
        trace: &mut T,
    ) -> Result<usize, Refusal> {
        let verdict = self.rules.environments.check(name, facts, route);
        let place = || self.rules.environments.place(name, verdict.err(), route);
        let note = || Note::new(format!("{} {}", name.name(), what())).at(&place());
        trace.judge(Step::Environment, verdict.map_err(Refusal::from), note)
    }

    /// Steps 8 and 9, in their order; `explain` goes on after a refusal to say what the later checks would have said.
    #[expect(clippy::too_many_arguments, reason = "the parts of one case")]
    fn authorize<T: Trace>(
        &self,
        identity: &Identity,
        facts: &Facts,
        route: &Route,
        captures: &[&str],
        head: &Parts,
        now: Timestamp,
        seen: &mut Seen,
        trace: &mut T,
    ) -> Result<(), Refusal> {
        let deployment_allowlist = self.rules.deployment_allowlist.as_ref();
        let case = Case {
            identity,
            facts,
            route,
            captures,
            client: seen.client,
            headers: &head.headers,
            deployment_allowlist,
            browser: self.rules.browser,
        };
        seen.exposed = self.rules.browser == BrowserRule::Flag && browser::is_exposed(&case);
        // What Sidegate itself does for a caller (keys, tokens) outlives the time in which anything is only observed.
        let is_forwarded = route.own.is_none() && route.tokens.is_none();
        let mut verdict = Ok(());
        for check in CHECKS {
            let (step, look) = (Step::Check(check.name), || (check.look)(&case));
            match (check.check)(&case) {
                Err(refusal) if is_forwarded && self.rules.lenience.observes(check, now) => {
                    trace.step(step, look, Verdict::Observed(&refusal));
                    if verdict.is_ok() {
                        seen.would_refuse.add(refusal);
                    }
                }
                said => verdict = verdict.and(trace.judge(step, said, look)),
            }
            if verdict.is_err() && !T::THOROUGH {
                break;
            }
        }
        if verdict.is_ok() {
            seen.scopes_used = policy::scope::used(&case);
        }
        if matches!(&verdict, Err(refusal) if refusal.rejection == Rejection::ScopeMissing) {
            seen.scopes_demanded =
                policy::scope::demanded(if route.scopes.is_empty() { &route.any_scopes } else { &route.scopes }, captures);
        }
        verdict
    }

    /// Writes down what a request showed of its key. Apart from the judgement, which `explain` runs too.
    pub fn note(&self, seen: &Seen) {
        if let Some(identity) = seen.identity.as_ref().filter(|_| seen.exposed) {
            self.authenticator.mark_exposed(identity);
        }
    }

    /// Behind an ingress that nobody declared all clients share one address: throttling it would lock everybody out.
    fn guard_applies(&self, connection: &Connection, head: &Parts) -> bool {
        let undeclared = self.rules.trust.is_empty()
            && matches!(connection.peer, Peer::Ip(ip) if is_private(ip))
            && head.headers.contains_key(crate::forward::headers::X_FORWARDED_FOR);
        if undeclared && self.rules.guard.note_undeclared_ingress() {
            tracing::warn!(peer = %connection.peer, "a private peer sends X-Forwarded-For and client_ip.trusted_proxies is empty: the guess guard is off until the ingress is declared");
        }
        !undeclared
    }

    /// What a request is before it is judged: an id, and what shapes a refusal of it.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap, now: Timestamp) -> Seen {
        Seen::new(self.request_id(headers, now), headers)
    }

    /// Its id: the client's where that may be told, else a new one.
    #[must_use]
    pub fn request_id(&self, headers: &HeaderMap, now: Timestamp) -> RequestId {
        match RequestId::of(headers, now) {
            RequestId::Kept(id) if self.rules.credentials.in_id(id.as_bytes()) => RequestId::new(now),
            id @ (RequestId::Kept(_) | RequestId::Made(_)) => id,
        }
    }
}

/// Whose bucket pays for a look-up: without a client address the peer is who asks.
fn throttled(connection: &Connection, seen: &Seen) -> Option<std::net::IpAddr> {
    seen.client.0.or(match connection.peer {
        Peer::Ip(ip) => Some(ip),
        Peer::Unix => None,
    })
}

impl std::fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(ip) => ip.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}
