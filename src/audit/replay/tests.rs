use proptest::prelude::*;

use super::*;
use crate::audit::{Action, Actor};
use crate::key::record::{KeyRecord, KeyStatus, PreviousSecret};
use crate::store::contract::key;

const LONG_AGO: Timestamp = Timestamp(0);

/// A key's life, an event at each of its versions.
struct Life {
    record: KeyRecord,
    events: Vec<Event>,
}

impl Life {
    fn new() -> Self {
        let record = key("key_1", "acme", "s1");
        Self { events: vec![Event::of(&Actor::local("test"), Action::Create, Timestamp(1_000), None, &record)], record }
    }

    fn then(mut self, action: Action, change: impl FnOnce(&mut KeyRecord)) -> Self {
        let mut after = self.record.clone();
        change(&mut after);
        after.version += 1;
        let at = Timestamp(1_000 * i64::try_from(after.version).unwrap());
        self.events.push(Event::of(&Actor::local("test"), action, at, Some(&self.record), &after));
        self.record = after;
        self
    }

    fn status(self, action: Action, status: KeyStatus) -> Self {
        self.then(action, |key| key.status = status)
    }

    fn rotate(self, digest: &str, overlap: bool) -> Self {
        let until = Timestamp(9_000_000 + i64::try_from(self.record.version).unwrap());
        let previous = PreviousSecret { digest: self.record.digest.clone(), until };
        self.then(Action::Rotate, |key| {
            key.digest = digest.repeat(32);
            key.previous = overlap.then_some(previous);
            key.last4 = digest.repeat(2);
        })
    }

    /// What is to be done in a store that knows only the first events.
    fn lost_behind(&self, kept: usize) -> Vec<Step> {
        plan(&self.events[..kept], &self.events, LONG_AGO).steps.into_iter().map(|(step, _)| step).collect()
    }
}

#[test]
fn a_lost_revocation_is_done_again_and_a_known_one_is_not() {
    let life = Life::new().status(Action::Revoke, KeyStatus::Revoked);
    assert_eq!(life.lost_behind(1), [Step::Revoke]);
    assert!(life.lost_behind(2).is_empty());
}

#[test]
fn of_what_was_switched_off_and_on_only_the_end_counts() {
    let off = Life::new().status(Action::Deactivate, KeyStatus::Inactive);
    assert_eq!(off.lost_behind(1), [Step::Deactivate]);
    let on = off.status(Action::Activate, KeyStatus::Active);
    assert!(on.lost_behind(1).is_empty() && on.lost_behind(2).is_empty(), "nothing is switched on");
    assert_eq!(plan(&on.events[..1], &on.events, LONG_AGO).left.len(), 1, "the activation is named");
}

#[test]
fn a_lost_rotation_brings_its_secret_and_kills_the_old_one() {
    let life = Life::new().rotate("ab", false);
    let [Step::Rotate(secret)] = &life.lost_behind(1)[..] else { panic!("{:?}", life.lost_behind(1)) };
    assert_eq!((secret.digest.as_str(), secret.last4.as_deref()), ("ab".repeat(32).as_str(), Some("abab")));
    assert_eq!((secret.overlap_until, secret.replaced.as_deref()), (None, Some(key("key_1", "acme", "s1").digest.as_str())));
}

#[test]
fn the_last_of_several_rotations_counts_with_the_overlap_it_gave_unless_that_was_ended() {
    let life = Life::new().rotate("ab", false).rotate("cd", true);
    let [Step::Rotate(secret)] = &life.lost_behind(1)[..] else { panic!("{:?}", life.lost_behind(1)) };
    assert_eq!((secret.overlap_until, secret.replaced.clone()), (Some(Timestamp(9_000_002)), Some("ab".repeat(32))));
    let life = life.then(Action::EndOverlap, |key| key.previous = None);
    let [Step::Rotate(secret)] = &life.lost_behind(2)[..] else { panic!("{:?}", life.lost_behind(2)) };
    assert_eq!((secret.digest.clone(), secret.overlap_until), ("cd".repeat(32), None));
    assert_eq!(life.lost_behind(3), [Step::EndOverlap]);
}

#[test]
fn a_rotation_that_was_replayed_or_made_since_is_not_undone_by_an_older_one() {
    let life = Life::new().rotate("ab", false);
    let mut since = Life { record: key("key_1", "acme", "s1"), events: life.events[..1].to_vec() }.rotate("ef", false).events;
    since[1].at = Timestamp(50_000);
    assert!(plan(&since, &life.events, LONG_AGO).steps.is_empty());
}

#[test]
fn a_revocation_holds_whatever_was_done_to_the_restored_key() {
    let life = Life::new().status(Action::Revoke, KeyStatus::Revoked);
    let mut since = Life { record: key("key_1", "acme", "s1"), events: life.events[..1].to_vec() }
        .status(Action::Deactivate, KeyStatus::Inactive)
        .events;
    since[1].at = Timestamp(50_000);
    assert_eq!(plan(&since, &life.events, LONG_AGO).steps[0].0, Step::Revoke);
}

#[test]
fn what_the_store_has_forgotten_by_its_age_is_not_missed() {
    let life = Life::new().status(Action::Deactivate, KeyStatus::Inactive);
    assert!(plan(&life.events[..1], &life.events, Timestamp(2_001)).steps.is_empty());
}

proptest! {
    /// Whatever a life was and wherever the copy was taken: nothing is to be done where nothing is lost, and a key that was revoked,
    /// switched off or has another secret at the end is that again.
    #[test]
    fn a_replay_ends_where_the_life_ended(deeds in proptest::collection::vec(0_u8..6, 0..12), kept in 1_usize..12) {
        let mut life = Life::new();
        for (n, deed) in deeds.iter().enumerate() {
            life = match deed {
                _ if life.record.status == KeyStatus::Revoked => break,
                0 => life.status(Action::Deactivate, KeyStatus::Inactive),
                1 => life.status(Action::Activate, KeyStatus::Active),
                2 => life.rotate(&format!("{n:02x}"), false),
                3 => life.rotate(&format!("{n:02x}"), true),
                4 => life.then(Action::EndOverlap, |key| key.previous = None),
                _ => life.status(Action::Revoke, KeyStatus::Revoked),
            };
        }
        let kept = kept.min(life.events.len());
        prop_assert!(life.lost_behind(life.events.len()).is_empty());
        let steps = life.lost_behind(kept);
        let lost = &life.events[kept..];
        let rotated = lost.iter().any(|event| event.digest.is_some());
        let switched = lost.iter().any(|event| status(event).is_some());
        match life.record.status {
            KeyStatus::Revoked => prop_assert_eq!(steps.contains(&Step::Revoke), switched),
            KeyStatus::Inactive => prop_assert_eq!(steps.contains(&Step::Deactivate), switched),
            KeyStatus::Active => prop_assert!(!steps.contains(&Step::Revoke) && !steps.contains(&Step::Deactivate)),
        }
        let secret = steps.iter().find_map(|step| if let Step::Rotate(secret) = step { Some(secret) } else { None });
        if life.record.status == KeyStatus::Revoked {
            prop_assert!(secret.is_none());
        } else {
            prop_assert_eq!(secret.map(|secret| secret.digest.clone()), rotated.then(|| life.record.digest.clone()));
            let until = life.record.previous.as_ref().map(|previous| previous.until);
            prop_assert!(secret.is_none_or(|secret| secret.overlap_until == until));
        }
    }
}
