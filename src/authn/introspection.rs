//! Asks an authorization server about tokens that say nothing themselves (RFC 7662): whether one is active, of whom it tells, until
//! when. Questions of strangers are bounded, and an answer that cannot be read in one way is none. Nothing is remembered here; that
//! is [`super::opaque`]'s.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::fetch::Endpoint;
use super::jwt::{Issuer, Json, TOKEN_MAX, Verified, time};
use crate::clock::{Clock, Timestamp};
use crate::config::problem::Problems;
use crate::config::sections::{self, Config};
use crate::key::digest::Digest;
use crate::rejection::{Refusal, Rejection};

/// What routes and logs call who is asked.
pub const NAME: &str = "introspection";
/// Questions under way at once: who asks beyond that is told so and does not wait.
const QUESTIONS_MAX: usize = 64;
/// What a form leaves as it is (WHATWG URL, "application/x-www-form-urlencoded percent-encode set").
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// Whom to ask, and as whom.
pub struct Introspection {
    endpoint: Endpoint,
    authorization: HeaderValue,
    cache_ttl_ms: i64,
    /// How its answers are read.
    issuer: Arc<Issuer>,
    /// Of all issuers.
    version: Arc<AtomicU64>,
    room: Semaphore,
    is_failing: AtomicBool,
    counters: Counters,
}

/// What was counted of the answers.
#[derive(Debug, Default)]
pub struct Counters {
    /// The token is good.
    pub active: AtomicU64,
    /// It is not.
    pub inactive: AtomicU64,
    /// There was no answer, or none that can be used.
    pub failed: AtomicU64,
    /// Nobody was asked, since so many questions were under way.
    pub spared: AtomicU64,
}

/// About which token somebody was asked, and how long the answer holds.
pub struct Asked {
    /// Who was.
    pub by: Arc<Introspection>,
    /// Its text: nothing else can be asked about again.
    text: Zeroizing<Box<[u8]>>,
    /// Until when it may be used without asking again.
    pub until: Timestamp,
    /// From when on it is asked about again ahead of that.
    pub due: Timestamp,
}

impl Asked {
    /// The token.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("until", &self.until).finish_non_exhaustive()
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").field("endpoint", &self.endpoint.url()).finish_non_exhaustive()
    }
}

/// Whether this can be a token that nobody here can read: `b64token` of RFC 6750 §2.1.
#[must_use]
pub fn is_candidate(text: &[u8]) -> bool {
    let body = text.trim_ascii_end();
    let unpadded = body.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let is_body = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
    unpadded > 0 && text.len() <= TOKEN_MAX && body.get(..unpadded).unwrap_or_default().iter().all(is_body)
}

impl Introspection {
    /// Compiles `[introspection]`, with what tells it from another; `None` = nobody is asked, or nobody can be.
    pub(super) fn compile(
        config: &Config,
        version: &Arc<AtomicU64>,
        problems: &mut Problems,
    ) -> Option<(Self, (sections::Introspection, Digest))> {
        let section = &config.introspection;
        if section.url.is_empty() {
            return None;
        }
        if config.issuers.iter().any(|issuer| issuer.name == NAME) {
            problems.error("introspection.url", "an issuer is named `introspection`: routes and logs could not tell them apart");
        }
        let endpoint = problems.keep("introspection.url", Endpoint::parse(&section.url));
        if section.client_id.is_empty() {
            problems
                .error("introspection.client_id", "who asks must say who it is (RFC 7662 §2.1)")
                .help("client_id = \"sidegate\", client_secret_file = \"/run/secrets/introspection\"");
        }
        let (secret, print) = secret(section, problems)?;
        let (endpoint, issuer) = (endpoint?, Arc::new(Issuer::asked(NAME, section, version)));
        let cache_ttl_ms = section.cache_ttl.as_millis();
        let authorization = authorization(section.client_id.as_bytes(), secret.expose_secret());
        let authorization = problems.keep("introspection.client_id", authorization)?;
        let (room, is_failing, counters) = (Semaphore::new(QUESTIONS_MAX), AtomicBool::new(false), Counters::default());
        let version = Arc::clone(version);
        Some((Self { endpoint, authorization, cache_ttl_ms, issuer, version, room, is_failing, counters }, (section.clone(), print)))
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was answered under another number is asked again.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Asks about a token.
    ///
    /// # Errors
    /// `token_inactive`; `issuer_unavailable` where that cannot be told; what an active token says that cannot be used.
    pub async fn ask(self: &Arc<Self>, text: &[u8], clock: &Clock) -> Result<Verified, Refusal> {
        let Ok(_place) = self.room.try_acquire() else {
            self.counters.spared.fetch_add(1, Ordering::Relaxed);
            return Err(Rejection::IssuerUnavailable.because("too many questions to the introspection endpoint are under way"));
        };
        // Before the question: what changes while it is asked may not be in the answer.
        let (version, began) = (self.version(), clock.now());
        let form = format!("token={}&token_type_hint=access_token", percent_encode(text, FORM));
        let answer = self.endpoint.answer_to(Bytes::from(form), &self.authorization).await;
        match answer.and_then(|document| self.read(&document, began)) {
            Ok(answer) => {
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the introspection endpoint answers again");
                }
                self.judge(answer, text, version, (began, clock.now()))
            }
            Err(why) => {
                self.counters.failed.fetch_add(1, Ordering::Relaxed);
                // The first is told at once, the others would be as many lines.
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%why, "the introspection endpoint gives no answer; what was answered is used for its time");
                }
                Err(Rejection::IssuerUnavailable.because(format!("introspection: {why}")))
            }
        }
    }

    /// What an answer says; `None` = it is not active.
    fn read(&self, document: &[u8], now: Timestamp) -> Result<Option<Active>, String> {
        let members = Json::object(document)?;
        match members.get("active") {
            Some(Json::Bool(false)) => return Ok(None),
            Some(Json::Bool(true)) => {}
            Some(other) => return Err(format!("active is {}", other.kind())),
            None => return Err("no answer of RFC 7662: active is missing".into()),
        }
        let end = time(&members, "exp").map_err(|refusal| refusal.detail.into_owned())?.unwrap_or(Timestamp(i64::MAX));
        // Who may use it is said; that it cannot be used is the answer's, or the record's, and no outage.
        let caller = self.issuer.check_answer(&members, now).and_then(|()| self.issuer.caller(&members, end, 0)).map_err(|refusal| {
            if refusal.rejection == Rejection::JwtMalformed { Rejection::IdentityInvalid.because(refusal.detail) } else { refusal }
        });
        Ok(Some(Active { end, caller }))
    }

    fn judge(
        self: &Arc<Self>,
        answer: Option<Active>,
        text: &[u8],
        version: u64,
        (began, now): (Timestamp, Timestamp),
    ) -> Result<Verified, Refusal> {
        let Some(active) = answer.filter(|active| now < active.end) else {
            self.counters.inactive.fetch_add(1, Ordering::Relaxed);
            return Err(Rejection::TokenInactive.into());
        };
        self.counters.active.fetch_add(1, Ordering::Relaxed);
        let asked = Asked {
            by: Arc::clone(self),
            text: Zeroizing::new(text.into()),
            until: began.plus_millis(self.cache_ttl_ms).min(active.end),
            due: began.plus_millis(self.cache_ttl_ms - self.cache_ttl_ms / 5),
        };
        Ok(Verified { version, asked: Some(asked), ..active.caller? })
    }
}

/// An active token: until when, and whose.
struct Active {
    end: Timestamp,
    caller: Result<Verified, Refusal>,
}

/// Our secret there, the first line of its file, and what tells the file from another.
fn secret(section: &sections::Introspection, problems: &mut Problems) -> Option<(SecretSlice<u8>, Digest)> {
    let (path, file) = ("introspection.client_secret_file", &section.client_secret_file);
    if file.as_os_str().is_empty() {
        problems.error(path, "who asks must show that it is who it says (RFC 7662 §2.1)");
        return None;
    }
    // A file that is not there was told where all files are looked at.
    let held = SecretSlice::from(std::fs::read(file).ok()?);
    let line = held.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    let Some(line) = line else {
        problems.error(path, format!("{}: it holds no secret", file.display()));
        return None;
    };
    Some((SecretSlice::from(line.to_vec()), Digest::of(held.expose_secret())))
}

/// Basic, of name and secret as a form has them (RFC 6749 §2.3.1).
fn authorization(client: &[u8], secret: &[u8]) -> Result<HeaderValue, String> {
    let plain = Zeroizing::new(format!("{}:{}", percent_encode(client, FORM), percent_encode(secret, FORM)));
    let line = Zeroizing::new(format!("Basic {}", STANDARD.encode(plain.as_bytes())));
    let mut value = HeaderValue::try_from(line.as_str()).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}
