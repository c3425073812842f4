//! What a refresh token is good for: pure, and the only place that says so. Nothing is read or written here.

use secrecy::{ExposeSecret as _, SecretString};

use super::record::{SessionRecord, Spent};
use super::token;
use crate::clock::Timestamp;
use crate::key::digest::StoredDigest;

/// Used tokens that are kept at once: who refreshes more often in so short a time is taken for a thief.
pub(super) const SPENT_MAX: usize = 8;

/// A refresh token as it comes.
pub(super) struct Presented<'a> {
    pub(super) token: &'a SecretString,
    /// All that it may be stored under.
    pub(super) digests: Vec<StoredDigest>,
    /// Id of the key it comes with; empty = none is asked for.
    pub(super) caller: &'a str,
}

/// What it is good for.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'r> {
    /// A new pair.
    Rotate,
    /// The pair that it was given a moment ago.
    Again(&'r Spent),
    /// It was used before, and not just now: somebody else has it too. The session ends.
    Reused,
    /// Nothing.
    Refused(&'static str),
}

impl Presented<'_> {
    fn is(&self, hex: &str) -> bool {
        StoredDigest::from_hex(hex).is_some_and(|stored| self.digests.contains(&stored))
    }
}

pub(super) fn judge<'r>(record: &'r SessionRecord, presented: &Presented<'_>, grace_ms: i64, now: Timestamp) -> Verdict<'r> {
    if record.ended.is_some() {
        return Verdict::Refused("its session is revoked");
    }
    if now >= record.expires_at {
        return Verdict::Refused("expired");
    }
    if presented.is(&record.digest) {
        return Verdict::Rotate;
    }
    let is_young = |spent: &Spent| now < spent.at.plus_millis(grace_ms);
    match record.spent.iter().find(|spent| presented.is(&spent.digest)) {
        Some(spent) if is_young(spent) && spent.caller == presented.caller => Verdict::Again(spent),
        Some(spent) if is_young(spent) => Verdict::Refused("another key has just used it"),
        Some(_) => Verdict::Reused,
        None if token::is_of(presented.token.expose_secret(), &record.family) => {
            // What a store has lost was nobody's theft.
            let is_known = token::version_of(presented.token.expose_secret()) <= record.version;
            if is_known { Verdict::Reused } else { Verdict::Refused("of a refresh that the store has lost") }
        }
        None => Verdict::Refused("unknown"),
    }
}

/// Takes note that the current token was used, and forgets those for which nothing is given again.
pub(super) fn spend(record: &mut SessionRecord, caller: &str, sealed: String, grace_ms: i64, now: Timestamp) {
    let digest = std::mem::take(&mut record.digest);
    record.spent.retain(|spent| now < spent.at.plus_millis(grace_ms));
    record.spent.push(Spent { digest, at: now, caller: caller.to_owned(), sealed });
    let surplus = record.spent.len().saturating_sub(SPENT_MAX);
    record.spent.drain(..surplus);
}

#[cfg(test)]
mod tests;
