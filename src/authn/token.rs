//! Who is calling, from a token: a verified one is remembered by its digest, as a key's records are, until it is over, its issuer's
//! keys change or what it rests on does. Its signature is checked where the request is; its tenant, and of a token of ours what it
//! was issued for, are asked of the store. What says nothing itself is asked about by [`super::opaque`].

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::LocalKey;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::timeout;

use super::Authenticator;
use super::Counters;
use super::cache::{AtHand, DigestHash, End, Hot};
use super::held::{ClientState, Found, Ground, Kept, SessionState, TenantState};
use super::jwt::{Grant, Issuers, Verified};
use super::load::Shared;
use super::opaque::Hold;
use super::standing::{ENDINGS, Standing};
use super::trouble::Trouble;
use crate::clock::Timestamp;
use crate::identity::Identity;
use crate::identity::template::{VALUE_MAX, is_injectable};
use crate::key::digest::{Digest, StoredDigest};
use crate::key::record::KeyRecord;
use crate::key::rules::check_id;
use crate::rejection::{Refusal, Rejection};
use crate::tenant::TenantStatus;

/// A token that was verified, and what the records that it rests on make of it.
pub struct Token {
    pub(super) verified: Arc<Verified>,
    /// With the generations that the verdict is of: its tenant, unless no record can have its name; its session, or its client's key.
    grounds: Grounds,
    end: End,
    verdict: Result<Arc<Identity>, Refusal>,
    superseded: AtomicBool,
    /// Where somebody was asked about it.
    pub(super) hold: Option<Hold>,
}

/// What a token rests on.
type Grounds = SmallVec<[(Arc<dyn Ground>, u64); 2]>;

impl AtHand for Token {
    fn superseded(&self) -> &AtomicBool {
        &self.superseded
    }
    fn table() -> &'static LocalKey<RefCell<Hot<Self>>> {
        thread_local!(static HOT: RefCell<Hot<Token>> = Hot::new());
        &HOT
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

impl Token {
    /// Who it is at this time.
    ///
    /// # Errors
    /// Why it is nobody: the token is over, or its tenant's record says no.
    pub fn judge(&self, now: Timestamp) -> Result<Arc<Identity>, Refusal> {
        if self.end.is_over(now) {
            return Err(self.over().because(format!("since {}", self.verified.end)));
        }
        self.verdict.clone()
    }

    /// What it is refused for behind its end.
    const fn over(&self) -> Rejection {
        if self.hold.is_some() { Rejection::TokenInactive } else { Rejection::JwtExpired }
    }

    /// Whether it may be used without asking about it, which of most tokens nobody has to.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        self.hold.as_ref().is_none_or(|hold| hold.is_fresh(now) && !self.superseded.load(Ordering::Acquire))
    }

    /// Whether nothing is known to have changed since.
    pub(super) fn is_current(&self, version: u64) -> bool {
        self.verified.version == version && self.stands() && !self.superseded.load(Ordering::Acquire)
    }

    fn stands(&self) -> bool {
        self.grounds.iter().all(|(ground, generation)| ground.generation() == *generation)
    }
}

/// Digests of the tokens that are being verified.
pub(super) struct Verifying(Mutex<HashSet<Digest, DigestHash>>);

/// One of them is; dropping it ends that.
struct Turn<'a>(&'a Verifying, Option<Digest>);

impl Verifying {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashSet::with_hasher(DigestHash::new())))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest, DigestHash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first to verify it is who is said to.
    fn begin(&self, digest: &Digest) -> Turn<'_> {
        Turn(self, self.lock().insert(*digest).then_some(*digest))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(digest) = &self.1 {
            self.0.lock().remove(digest);
        }
    }
}

impl Authenticator {
    /// Whether this token is being verified: who asks now waits for the same answer, and is no further guess.
    #[must_use]
    pub fn is_verifying(&self, digest: &Digest) -> bool {
        self.shared.verifying.lock().contains(digest) || self.shared.questions.is_asking(digest)
    }

    /// The keys of these issuers are kept fresh from now on.
    pub fn keep_keys(&self, issuers: &Issuers) {
        issuers.keep(&self.shared.runtime, &self.shared.clock);
    }

    /// The answer for a token that is remembered, good or bad, by the issuers as they are; `None` = [`Self::load_token`].
    #[must_use]
    pub fn cached_token(&self, digest: &Digest, issuers: &Issuers, now: Timestamp) -> Option<Result<Arc<Token>, Refusal>> {
        let (shared, version) = (&self.shared, issuers.version());
        if let Some(token) = shared.usable(digest, version, now) {
            shared.renew(&token, now, self.patience);
            return Some(Ok(token));
        }
        let moment = shared.freshness.moment(now, shared.slots.floor());
        let refusal = shared.tokens.refusal(digest, moment, version)?;
        Counters::count(&shared.counters.negative_hits);
        Some(Err(refusal))
    }

    /// Verifies a token, and asks for its tenant. What comes of it is remembered.
    ///
    /// # Errors
    /// Why it is not good, or why that cannot be told.
    pub async fn load_token(&self, text: &[u8], digest: &Digest, issuers: &Issuers, now: Timestamp) -> Result<Arc<Token>, Refusal> {
        let shared = &self.shared;
        let _turn = shared.verifying.begin(digest);
        let version = issuers.version();
        let known = shared.tokens.entry(digest).filter(|token| token.verified.version == version);
        let verified = match &known {
            Some(token) => Ok(Arc::clone(&token.verified)),
            None => issuers.verify_asking(text, &shared.runtime, &shared.clock, now).await.map(Arc::new),
        };
        let token = match verified {
            Ok(verified) => shared.of_grounds(verified, digest, self.patience).await,
            Err(refusal) => Err(refusal),
        };
        shared.remember(digest, token, (now, version), issuers.version())
    }

    /// How the token that admitted an exchange stands, as far as is known without asking: it may be over, or what it rests on.
    #[must_use]
    pub fn standing_of_token(&self, token: &Token, now: Timestamp) -> Standing {
        if token.end.is_over(now) {
            return Standing::Ended(token.over());
        }
        if !token.is_fresh(now) {
            return Standing::Unknown;
        }
        let moment = self.shared.freshness.moment(now, self.shared.slots.floor());
        let is_certain = token.stands() && token.grounds.iter().all(|(ground, _)| moment.age(ground.reading()).is_some());
        if is_certain || !self.shared.store.is_reachable() { Standing::Holds } else { Standing::Unknown }
    }

    /// The same, asking for what is not known any more: of the token itself, else of the store what it rests on, judged anew.
    pub async fn ask_standing_of_token(&self, token: &Token) -> Standing {
        if let Some(standing) = self.ask_again(token).await {
            return standing;
        }
        let digest = token.hold.as_ref().map_or(Digest([0; 32]), |hold| hold.digest);
        let renewed = self.shared.of_grounds(Arc::clone(&token.verified), &digest, self.patience).await;
        match renewed.and_then(|renewed| renewed.judge(self.now())) {
            Err(refusal) if ENDINGS.contains(&refusal.rejection) => Standing::Ended(refusal.rejection),
            Ok(_) | Err(_) => Standing::Holds,
        }
    }
}

/// Whether a session's tokens are good.
fn check_session(state: &SessionState) -> Result<(), Refusal> {
    match state {
        SessionState::Open => Ok(()),
        SessionState::Ended(ended) => {
            Err(Rejection::TokenInactive.because(format!("its session ended at {} ({})", ended.at, ended.reason)))
        }
        SessionState::Absent => Err(Rejection::TokenInactive.because("its session is not known")),
        SessionState::Unusable(why) => Err(Rejection::IdentityInvalid.because(why.clone())),
    }
}

/// The key that a token stands for which was given for the secret with this mark, and until when it does.
fn client_of<'s>(state: &'s ClientState, mark: &str) -> Result<(&'s KeyRecord, Timestamp), Refusal> {
    let key = match (state, state.ending()) {
        (_, Some(rejection)) => return Err(rejection.into()),
        (ClientState::Found(key), None) => key,
        (ClientState::Unusable(why), None) => return Err(Rejection::IdentityInvalid.because(why.clone())),
        (ClientState::Absent, None) => return Err(Rejection::KeyUnknown.into()),
    };
    let is_marked = |hex: &str| StoredDigest::from_hex(hex).is_some_and(|stored| stored.mark(&key.id) == *mark);
    let secret = match &key.previous {
        _ if is_marked(&key.digest) => Timestamp(i64::MAX),
        Some(previous) if !previous.is_dead() && is_marked(&previous.digest) => previous.until,
        Some(_) | None => return Err(Rejection::KeyUnknown.because("of a secret that a rotation has replaced")),
    };
    Ok((key, secret.min(key.expires_at.unwrap_or(Timestamp(i64::MAX)))))
}

impl Shared {
    /// A verified token, and what it rests on as it is known.
    pub(super) async fn of_grounds(
        self: &Arc<Self>,
        verified: Arc<Verified>,
        digest: &Digest,
        patience: Duration,
    ) -> Result<Token, Refusal> {
        let id = verified.tenant.as_str();
        if id.len() > VALUE_MAX || !is_injectable(id, false) {
            return Err(Rejection::IdentityInvalid.because("the tenant's name cannot stand in a header"));
        }
        let (mut grounds, mut end) = (Grounds::new(), verified.end);
        let (id, tenant) = if check_id("tenant id", id).is_ok() {
            let (tenant, generation, state) = self.find_for_token::<TenantState>(id, patience).await?;
            let id = Arc::clone(&tenant.slot.id);
            grounds.push((tenant, generation));
            (id, state)
        } else {
            (id.into(), Arc::new(TenantState::Absent))
        };
        let verdict = match &verified.grant {
            None => self.verdict_on(&verified, id, &tenant, None),
            Some(Grant::Session(session)) => {
                let (session, generation, state) = self.find_for_token::<SessionState>(session, patience).await?;
                grounds.push((session, generation));
                check_session(&state).and_then(|()| self.verdict_on(&verified, id, &tenant, None))
            }
            Some(Grant::Client(key, mark)) => {
                let (client, generation, state) = self.find_for_token::<ClientState>(key, patience).await?;
                grounds.push((client, generation));
                client_of(&state, mark).and_then(|(key, until)| {
                    end = end.min(until);
                    self.verdict_on(&verified, id, &tenant, Some(key))
                })
            }
        };
        let hold = verified.asked.as_ref().map(|asked| Hold::new(*digest, asked));
        Ok(Token { grounds, end: End::new(end), verified, verdict, superseded: AtomicBool::new(false), hold })
    }

    /// On the store's runtime, so that a caller that leaves does not end it.
    async fn find_for_token<S: Kept>(self: &Arc<Self>, id: &str, patience: Duration) -> Result<Found<S>, Refusal> {
        let (shared, id) = (Arc::clone(self), id.to_owned());
        let asked = self.runtime.spawn(async move { shared.find::<S>(&id).await });
        match timeout(patience, asked).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(trouble))) => Err(match trouble {
                Trouble::Silent(why) => Rejection::StoreUnavailable.because(why),
                Trouble::Refused(refusal) => refusal,
                Trouble::Overtaken | Trouble::Lost(_) => {
                    Rejection::StoreUnavailable.because("the store has an older record than was known")
                }
            }),
            Ok(Err(_)) => Err(Rejection::StoreUnavailable.because("the store is closed")),
            Err(_) => Err(Rejection::StoreUnavailable.because(format!("no answer within {} ms", patience.as_millis()))),
        }
    }

    /// Remembers what came of a token that was verified at this time, by the issuers as they were then; `version` is theirs now.
    pub(super) fn remember(
        &self,
        digest: &Digest,
        token: Result<Token, Refusal>,
        (began, began_by): (Timestamp, u64),
        version: u64,
    ) -> Result<Arc<Token>, Refusal> {
        match token {
            Ok(token) => {
                if let Some(before) = self.tokens.entry(digest) {
                    token.end.take_over(&before.end);
                    if let (Some(hold), Some(before)) = (&token.hold, &before.hold) {
                        hold.take_over(before);
                    }
                }
                let token = Arc::new(token);
                if token.is_current(version) {
                    self.tokens.keep(*digest, Arc::clone(&token));
                }
                Ok(token)
            }
            Err(refusal) => {
                if refusal.rejection.row().status < 500 {
                    self.tokens.deny(*digest, began, began_by, refusal.clone());
                }
                Err(refusal)
            }
        }
    }

    /// What is remembered of a token and may be used as it is.
    pub(super) fn usable(self: &Arc<Self>, digest: &Digest, version: u64, now: Timestamp) -> Option<Arc<Token>> {
        let is_good = |token: &Arc<Token>| token.is_current(version) && token.is_fresh(now) && self.may_use(token, now);
        self.tokens.entry(digest).filter(is_good)
    }

    /// Whether what is known of its grounds may be used without asking. In the last fifth of their time they are asked for ahead.
    fn may_use(self: &Arc<Self>, token: &Token, now: Timestamp) -> bool {
        let moment = self.freshness.moment(now, self.slots.floor());
        let mut is_stale = false;
        for (ground, _) in &token.grounds {
            let reading = ground.reading();
            if let Some(age) = moment.age(reading) {
                if self.freshness.is_due(age) {
                    Arc::clone(ground).refresh(self);
                }
                continue;
            }
            let is_usable = moment.excuses(reading) || !self.store.is_reachable() && now < self.freshness.stale_until(moment, reading);
            if !is_usable {
                return false;
            }
            is_stale = true;
        }
        if is_stale {
            Counters::count(&self.counters.stale);
        }
        true
    }

    /// What the tenant's record, and the key's that it stands for, make of a token.
    fn verdict_on(
        &self,
        token: &Verified,
        id: Arc<str>,
        state: &TenantState,
        client: Option<&KeyRecord>,
    ) -> Result<Arc<Identity>, Refusal> {
        let record = match state {
            TenantState::Found(record) if record.status == TenantStatus::Suspended => return Err(Rejection::TenantSuspended.into()),
            TenantState::Found(record) => Some(&**record),
            TenantState::Absent if token.issuer.takes_unknown_tenants => None,
            TenantState::Absent => return Err(Rejection::TenantUnknown.because(format!("there is no tenant {id}"))),
            TenantState::Unusable(why) => return Err(self.unfit(why)),
        };
        Identity::of_token(token, id, record, client, &self.headers).map(Arc::new).map_err(|why| self.unfit(&why))
    }

    fn unfit(&self, why: &str) -> Refusal {
        Counters::count(&self.counters.unusable);
        Rejection::IdentityInvalid.because(why.to_owned())
    }
}
