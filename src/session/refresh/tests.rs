//! The verdict on refresh tokens, case by case.

use proptest::prelude::*;

use super::*;
use crate::key::digest::{Digest, Peppers};
use crate::session::record::Ended;
use crate::store::session::fixture;

const GRACE_MS: i64 = 10_000;

fn at(ms: i64) -> Timestamp {
    Timestamp(1_700_000_000_000 + ms)
}

struct Story {
    record: SessionRecord,
    /// All tokens, the current one last.
    tokens: Vec<SecretString>,
}

fn digest(token: &SecretString) -> StoredDigest {
    Peppers::default().store(&Digest::of(token.expose_secret().as_bytes()))
}

impl Story {
    fn new() -> Self {
        let mut record = fixture::session("ses_00000000000000000001", "acme", "ada");
        record.family = token::new_family().unwrap();
        let mut story = Self { record, tokens: Vec::new() };
        story.issue();
        story
    }

    fn issue(&mut self) {
        let token = token::generate(&self.record.id, &self.record.family, self.record.version).unwrap();
        self.record.digest = digest(&token).to_hex();
        self.tokens.push(token);
    }

    fn rotate(&mut self, caller: &str, ms: i64) {
        spend(&mut self.record, caller, format!("sealed {}", self.tokens.len()), GRACE_MS, at(ms));
        self.record.version += 1;
        self.issue();
    }

    fn judge(&self, token: &SecretString, caller: &str, ms: i64) -> Verdict<'_> {
        let presented = Presented { token, digests: vec![digest(token)], caller };
        judge(&self.record, &presented, GRACE_MS, at(ms))
    }
}

#[test]
fn the_current_token_gets_a_new_pair_until_it_is_over() {
    let story = Story::new();
    let end = story.record.expires_at.0 - at(0).0;
    assert_eq!(story.judge(&story.tokens[0], "key_1", 0), Verdict::Rotate);
    assert_eq!(story.judge(&story.tokens[0], "key_2", end - 1), Verdict::Rotate);
    assert_eq!(story.judge(&story.tokens[0], "key_1", end), Verdict::Refused("expired"));
}

#[test]
fn a_used_token_gets_its_pair_again_within_the_grace_and_ends_the_session_after_it() {
    let mut story = Story::new();
    story.rotate("key_1", 0);
    let used = story.tokens[0].clone();
    assert!(matches!(story.judge(&used, "key_1", GRACE_MS - 1), Verdict::Again(spent) if spent.sealed == "sealed 1"));
    assert_eq!(story.judge(&used, "key_2", GRACE_MS - 1), Verdict::Refused("another key has just used it"));
    assert_eq!(story.judge(&used, "key_1", GRACE_MS), Verdict::Reused);
    assert_eq!(story.judge(&used, "key_2", GRACE_MS), Verdict::Reused);
    assert_eq!(story.judge(&story.tokens[1], "key_2", GRACE_MS), Verdict::Rotate);
}

#[test]
fn a_token_of_long_ago_is_known_although_its_digest_is_forgotten() {
    let mut story = Story::new();
    for round in 0..20 {
        story.rotate("key_1", round * 3_600_000);
    }
    assert_eq!(story.record.spent.len(), 1);
    for old in &story.tokens[..20] {
        assert_eq!(story.judge(old, "key_1", 20 * 3_600_000), Verdict::Reused);
    }
}

#[test]
fn a_token_that_the_store_has_forgotten_is_refused_and_ends_nothing() {
    let mut story = Story::new();
    let before = story.record.clone();
    story.rotate("key_1", 0);
    let (used, lost) = (story.tokens[0].clone(), story.tokens[1].clone());
    // A master was lost with the last write.
    story.record = before;
    assert_eq!(story.judge(&lost, "key_1", 3_600_000), Verdict::Refused("of a refresh that the store has lost"));
    // Once there is another of that version, one of the two has it from somebody else.
    assert_eq!(story.judge(&used, "key_1", 3_600_000), Verdict::Rotate);
    story.rotate("key_1", 3_600_000);
    assert_eq!(story.judge(&lost, "key_1", 3_600_001), Verdict::Reused);
}

#[test]
fn a_stranger_who_knows_the_session_ends_nothing() {
    let story = Story::new();
    let forged = token::generate(&story.record.id, &token::new_family().unwrap(), 1).unwrap();
    assert_eq!(story.judge(&forged, "key_1", 0), Verdict::Refused("unknown"));
}

#[test]
fn of_a_revoked_session_no_token_is_good_for_anything() {
    let mut story = Story::new();
    story.rotate("key_1", 0);
    story.record.ended = Some(Ended { at: at(1), reason: "revoked".into() });
    for token in &story.tokens {
        assert_eq!(story.judge(token, "key_1", 2), Verdict::Refused("its session is revoked"));
    }
}

proptest! {
    /// Whatever happens in which order: at most one token is good for a new pair, and it is the last one.
    #[test]
    fn only_the_last_token_is_ever_rotated(steps in proptest::collection::vec(0_i64..20_000, 0..20), asked in 0_i64..60_000) {
        let mut story = Story::new();
        let mut now = 0;
        for step in steps {
            now += step;
            story.rotate("key_1", now);
        }
        prop_assert!(story.record.spent.len() <= SPENT_MAX);
        let (last, older) = story.tokens.split_last().unwrap();
        prop_assert_eq!(story.judge(last, "key_1", now + asked), Verdict::Rotate);
        for old in older {
            prop_assert!(matches!(story.judge(old, "key_1", now + asked), Verdict::Again(_) | Verdict::Reused));
        }
    }
}
