//! The bounds of the contract, for any interleaving of changes, announcements, outages, faults, questions and time.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;

const STALE_FOR_MS: i64 = 600_000;
const SILENCE_MS: i64 = 1_000;
/// An entry may be that much older than an answer from it.
const TTL_MS: i64 = 30_000;

#[derive(Debug, Clone, Copy)]
enum Event {
    SetKey(KeyStatus),
    SetTenant(TenantStatus),
    /// The log is read on.
    Hear,
    /// Its next entry is, and no more.
    HearOne,
    /// What the log held is lost, and that is noticed.
    Gap,
    /// The store stops answering; whether that is known.
    Lose {
        seen: bool,
    },
    ComeBack,
    /// The store shows the records as they were that many changes ago.
    FallBack(usize),
    Flush,
    Restore,
    Pass(i64),
    Ask,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    prop_oneof![
        2 => prop_oneof![Just(KeyStatus::Active), Just(KeyStatus::Inactive), Just(KeyStatus::Revoked)].prop_map(SetKey),
        1 => prop_oneof![Just(TenantStatus::Active), Just(TenantStatus::Suspended)].prop_map(SetTenant),
        5 => Just(Hear),
        2 => Just(HearOne),
        1 => Just(Gap),
        1 => any::<bool>().prop_map(|seen| Lose { seen }),
        2 => Just(ComeBack),
        2 => prop_oneof![3 => (1_usize..4).prop_map(FallBack), 1 => Just(Flush)],
        1 => Just(Restore),
        6 => prop_oneof![1_i64..400, 400_i64..3_000, 3_000_i64..40_000, 40_000_i64..700_000].prop_map(Pass),
        8 => Just(Ask),
    ]
}

/// All versions of a record. What is changed while the store shows an older one goes on from there: the newer ones never were.
struct History<R> {
    versions: Vec<R>,
    /// How many of them the store has.
    shown: usize,
    /// Whether it was changed so, and the sidecar may know of the others still.
    is_forked: bool,
}

impl<R> History<R> {
    fn new(first: R) -> Self {
        Self { versions: vec![first], shown: 1, is_forked: false }
    }

    fn last(&self) -> &R {
        self.versions.last().unwrap()
    }

    fn shown(&self) -> Option<&R> {
        self.versions[..self.shown].last()
    }

    fn is_whole(&self) -> bool {
        self.shown == self.versions.len()
    }

    fn push(&mut self, next: R) {
        self.is_forked |= !self.is_whole();
        self.versions.truncate(self.shown);
        self.versions.push(next);
        self.shown += 1;
    }

    fn fall_back(&mut self, lost: usize) {
        self.shown = self.shown.min(self.versions.len().saturating_sub(lost).max(1));
    }
}

/// What really is, and what the sidecar was told of it.
struct World {
    bench: Bench,
    key: History<KeyRecord>,
    tenant: History<TenantRecord>,
    log: Vec<Changed>,
    is_away: bool,
    was_faulty: bool,
    /// When the store was in order again last.
    came_back: Timestamp,
    /// Since when the key opens something, or nothing.
    since: Timestamp,
    faulty_since_then: bool,
    /// When the sidecar heard, or answered of its own, that it opens nothing.
    told: Option<Timestamp>,
    /// When it was admitted last, with a store in order, if nothing was heard since.
    admitted: Option<Timestamp>,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            key: History::new(key("key_1", "acme", "s1")),
            tenant: History::new(tenant("acme")),
            log: Vec::new(),
            is_away: false,
            was_faulty: false,
            came_back: START,
            since: START,
            faulty_since_then: false,
            told: None,
            admitted: None,
        }
    }

    fn is_open(&self) -> bool {
        self.key.last().status == KeyStatus::Active && self.tenant.last().status == TenantStatus::Active
    }

    /// Whether the store shows something else than what is.
    fn is_faulty(&self) -> bool {
        !self.key.is_whole() || !self.tenant.is_whole()
    }

    /// Whether the sidecar may know of what never was.
    fn is_forked(&self) -> bool {
        self.key.is_forked || self.tenant.is_forked
    }

    fn news(&self) -> [Changed; 2] {
        [Changed::of_key(self.key.last()), Changed::of_tenant(self.tenant.last())]
    }

    /// Whether this is the news that the key opens nothing.
    fn closes(&self, change: &Changed) -> bool {
        let [of_key, of_tenant] = self.news();
        *change == of_key && self.key.last().status != KeyStatus::Active
            || *change == of_tenant && self.tenant.last().status != TenantStatus::Active
    }

    /// The store has what `modify` makes of the histories.
    fn change(&mut self, modify: impl FnOnce(&mut Self)) {
        let (was_open, was_faulty) = (self.is_open(), self.is_faulty());
        modify(self);
        if was_open != self.is_open() {
            self.faulty_since_then = self.is_faulty() || self.is_forked();
            (self.since, self.told) = (self.bench.clock.now(), None);
        }
        if was_faulty && !self.is_faulty() {
            self.came_back = self.bench.clock.now();
        }
        self.bench.store.lose_everything();
        self.key.shown().cloned().into_iter().for_each(|key| self.bench.store.put(key));
        self.tenant.shown().cloned().into_iter().for_each(|tenant| self.bench.store.put_tenant(tenant));
    }

    fn apply(&mut self, change: &Changed) {
        self.bench.authn.apply(change);
        self.admitted = None;
        let [of_key, of_tenant] = self.news();
        self.key.is_forked &= *change != of_key;
        self.tenant.is_forked &= *change != of_tenant;
    }

    fn hear(&mut self) {
        for change in std::mem::take(&mut self.log) {
            self.apply(&change);
        }
        let now = self.bench.clock.now();
        self.bench.authn.heard(now);
    }

    fn fail(&mut self, lose: impl FnOnce(&mut Self)) {
        (self.was_faulty, self.faulty_since_then, self.admitted) = (true, true, None);
        self.change(lose);
    }

    async fn happen(&mut self, event: Event) -> TestCaseResult {
        match event {
            Event::SetKey(status) => {
                // What is revoked is so for ever, and what is not there cannot be changed.
                let Some(key) = self.key.shown().filter(|key| key.status != KeyStatus::Revoked).cloned() else { return Ok(()) };
                self.change(|world| {
                    world.told = world.told.filter(|_| status != KeyStatus::Active);
                    world.key.push(KeyRecord { status, version: key.version + 1, ..key });
                    world.log.push(Changed::of_key(world.key.last()));
                });
            }
            Event::SetTenant(status) => {
                let Some(tenant) = self.tenant.shown().cloned() else { return Ok(()) };
                self.change(|world| {
                    world.told = world.told.filter(|_| status != TenantStatus::Active);
                    world.tenant.push(TenantRecord { status, version: tenant.version + 1, ..tenant });
                    world.log.push(Changed::of_tenant(world.tenant.last()));
                });
            }
            Event::HearOne if !self.is_away && self.log.len() > 1 => {
                let change = self.log.remove(0);
                self.apply(&change);
                // A reader that catches up may be told of less than was read here.
                self.told = None;
            }
            Event::Hear if !self.is_away => {
                let closes = self.log.iter().any(|change| self.closes(change));
                self.hear();
                if closes {
                    self.told = Some(self.bench.clock.now());
                }
            }
            Event::Gap if !self.is_away => {
                self.log = vec![Changed::Everything];
                let admitted = self.admitted;
                self.hear();
                self.admitted = admitted;
            }
            Event::Hear | Event::HearOne | Event::Gap => {}
            Event::Lose { seen } => {
                self.is_away = true;
                if seen { self.bench.store.go_away() } else { self.bench.store.fall_silent() }
            }
            Event::ComeBack => {
                if std::mem::take(&mut self.is_away) {
                    self.came_back = self.bench.clock.now();
                }
                self.bench.store.come_back();
            }
            Event::FallBack(lost) => self.fail(|world| {
                world.key.fall_back(lost);
                world.tenant.fall_back(lost);
            }),
            Event::Flush => self.fail(|world| (world.key.shown, world.tenant.shown) = (0, 0)),
            Event::Restore => self.change(|world| {
                (world.key.shown, world.tenant.shown) = (world.key.versions.len(), world.tenant.versions.len());
            }),
            Event::Pass(ms) => self.bench.clock.advance(ms),
            Event::Ask => {
                let answer = reason(self.bench.ask("s1").await);
                self.judge(answer)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, answer: &'static str) -> TestCaseResult {
        let now = self.bench.clock.now();
        let (admitted, unavailable) = (answer == "admitted", answer == "store_unavailable");
        let for_ms = now.0 - self.since.0.max(self.came_back.0);
        if admitted && !self.is_open() {
            let told = self.told.is_some_and(|told| now.0 < told.0 + STALE_FOR_MS);
            prop_assert!(!told, "admitted although the sidecar was told {:?}", self.told);
            if !self.faulty_since_then {
                prop_assert!(now.0 < self.since.0 + STALE_FOR_MS, "admitted for longer than stale_for");
                prop_assert!(self.is_away || for_ms < SILENCE_MS, "admitted for longer than a second while the store answers");
            }
        }
        if unavailable {
            prop_assert!(self.is_away || self.was_faulty, "unavailable although the store answers");
            let known = self.admitted.is_some_and(|at| now.0 < at.0 - TTL_MS - SILENCE_MS + STALE_FOR_MS);
            prop_assert!(!known, "unavailable although it was admitted {:?} and nothing was heard since", self.admitted);
        }
        if answer == "key_unknown" {
            prop_assert!(self.was_faulty, "a key that was never gone is unknown");
        }
        if !self.is_away && !self.was_faulty && for_ms >= SILENCE_MS {
            prop_assert_eq!(admitted, self.is_open(), "{}", answer);
        }
        // What is answered from now on was read since things are as they are.
        if !self.is_away && !self.is_faulty() && !self.is_forked() && for_ms >= SILENCE_MS {
            if admitted {
                self.admitted = Some(now);
            } else if ["key_revoked", "key_inactive", "tenant_suspended"].contains(&answer) && !self.is_open() {
                self.told = Some(now);
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_answer_is_beyond_the_bounds(events in proptest::collection::vec(event(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for event in events {
                world.happen(event).await?;
            }
            TestCaseResult::Ok(())
        })?;
    }
}
