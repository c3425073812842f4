//! Tokens that say nothing themselves, as they are remembered: for as long as the answer about one holds, which is asked for ahead of
//! its end while the token is in use. One question is under way per token, however many wait; it ends in the cache before it is told.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::cache::DigestHash;
use super::fetch::PATIENCE;
use super::introspection::{Asked, Introspection};
use super::load::Shared;
use super::standing::{ENDINGS, Standing};
use super::token::Token;
use super::{Authenticator, Counters};
use crate::clock::Timestamp;
use crate::key::digest::Digest;
use crate::rejection::{Refusal, Rejection};

/// Least time between two questions ahead of an answer's end.
const PAUSE_MS: i64 = 1_000;

type Answer = Result<Arc<Token>, Refusal>;

/// Questions under way, and who waits for the answers.
pub(super) struct Questions(Mutex<HashMap<Digest, Vec<oneshot::Sender<Answer>>, DigestHash>>);

/// How long the answer about a token holds.
pub(super) struct Hold {
    pub(super) digest: Digest,
    until: Timestamp,
    /// When it is asked about again, milliseconds.
    due: AtomicI64,
}

impl Hold {
    pub(super) const fn new(digest: Digest, asked: &Asked) -> Self {
        Self { digest, until: asked.until, due: AtomicI64::new(asked.due.0) }
    }

    /// Whether it may be used without asking again.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.until
    }

    /// The same answer as before is asked about again no oftener.
    pub(super) fn take_over(&self, before: &Self) {
        if self.until == before.until {
            self.due.store(before.due.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Whether it is to be asked about again; then the next is told so after a pause.
    fn is_due(&self, now: Timestamp) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        now.0 >= due && self.due.compare_exchange(due, now.0 + PAUSE_MS, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Questions {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::with_hasher(DigestHash::new())))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<oneshot::Sender<Answer>>, DigestHash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_asking(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Questions").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Asks about a token, and for what it rests on. What comes of it is remembered, and a caller that leaves does not end it.
    ///
    /// # Errors
    /// Why it is not good, or why that cannot be told.
    pub async fn load_opaque(&self, text: &[u8], digest: &Digest, introspection: &Arc<Introspection>, now: Timestamp) -> Answer {
        let (shared, version) = (&self.shared, introspection.version());
        let known = shared.tokens.entry(digest).filter(|token| token.verified.version == version && token.is_fresh(now));
        if let Some(known) = known {
            // Only what it rests on is to be asked for.
            shared.renew(&known, now, self.patience);
            let token = shared.of_grounds(Arc::clone(&known.verified), digest, self.patience).await;
            return shared.remember(digest, token, (now, version), introspection.version());
        }
        let (reply, answer) = oneshot::channel();
        shared.question(text, digest, introspection, Some(reply), self.patience);
        match timeout(PATIENCE + self.patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Rejection::IssuerUnavailable.because("the introspection endpoint was not asked to an end")),
        }
    }

    /// The same token as it was answered about last, where this is not the last.
    pub(super) fn renewed(&self, token: &Token, now: Timestamp) -> Option<Arc<Token>> {
        let digest = token.hold.as_ref().filter(|_| !token.is_fresh(now))?.digest;
        self.shared.tokens.entry(&digest).filter(|renewed| renewed.is_fresh(now))
    }

    /// How a token stands, asking about it where what was answered holds no more. That nobody answers ends nothing.
    pub(super) async fn ask_again(&self, token: &Token) -> Option<Standing> {
        let (asked, hold) = (token.verified.asked.as_ref()?, token.hold.as_ref()?);
        if token.is_fresh(self.now()) {
            return None;
        }
        Some(match self.load_opaque(asked.text(), &hold.digest, &asked.by, self.now()).await {
            Err(refusal) if ENDINGS.contains(&refusal.rejection) => Standing::Ended(refusal.rejection),
            Ok(_) | Err(_) => Standing::Holds,
        })
    }
}

impl Shared {
    /// Asks ahead about a token that is in use, where the answer nears its end.
    pub(super) fn renew(self: &Arc<Self>, token: &Token, now: Timestamp, patience: Duration) {
        if let (Some(asked), Some(hold)) = (&token.verified.asked, &token.hold)
            && hold.is_due(now)
        {
            Counters::count(&self.counters.refreshes);
            self.question(asked.text(), &hold.digest, &asked.by, None, patience);
        }
    }

    /// Waits for the answer about a token, asking if nobody does.
    fn question(
        self: &Arc<Self>,
        text: &[u8],
        digest: &Digest,
        by: &Arc<Introspection>,
        reply: Option<oneshot::Sender<Answer>>,
        patience: Duration,
    ) {
        let mut under_way = self.questions.lock();
        if let Some(waiting) = under_way.get_mut(digest) {
            if let Some(reply) = reply {
                Counters::count(&self.counters.joined);
                waiting.push(reply);
            }
            return;
        }
        // One that ended between the caller's miss and now has left its answer in the cache before it left the table.
        let reply = match (reply, self.usable(digest, by.version(), self.clock.now())) {
            (Some(reply), Some(token)) => return drop(reply.send(Ok(token))),
            (reply, _) => reply,
        };
        under_way.insert(*digest, reply.into_iter().collect());
        // Unlocked first: on a runtime that has stopped, the question is dropped at once and locks the table itself.
        drop(under_way);
        let question = Question { shared: Arc::clone(self), digest: *digest, by: Arc::clone(by), patience, landed: false };
        drop(self.runtime.spawn(question.run(Zeroizing::new(text.into()))));
    }
}

/// A question under way. However it ends, even by the runtime's, nobody waits for it for ever.
struct Question {
    shared: Arc<Shared>,
    digest: Digest,
    by: Arc<Introspection>,
    patience: Duration,
    landed: bool,
}

impl Question {
    async fn run(mut self, text: Zeroizing<Box<[u8]>>) {
        let shared = Arc::clone(&self.shared);
        let (began, version) = (shared.clock.now(), self.by.version());
        let answer = match self.by.ask(&text, &shared.clock).await {
            Ok(verified) => shared.of_grounds(Arc::new(verified), &self.digest, self.patience).await,
            Err(refusal) => Err(refusal),
        };
        let answer = shared.remember(&self.digest, answer, (began, version), self.by.version());
        for reply in self.land() {
            drop(reply.send(answer.clone()));
        }
    }

    fn land(&mut self) -> Vec<oneshot::Sender<Answer>> {
        self.landed = true;
        self.shared.questions.lock().remove(&self.digest).unwrap_or_default()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.landed {
            drop(self.land());
        }
    }
}
