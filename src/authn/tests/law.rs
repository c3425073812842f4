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
    /// What the log held is lost, and that is noticed.
    Gap,
    /// The store stops answering; whether that is known.
    Lose {
        seen: bool,
    },
    ComeBack,
    /// The store shows the records as they were before their last change.
    FallBack,
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
        1 => Just(Gap),
        1 => any::<bool>().prop_map(|seen| Lose { seen }),
        2 => Just(ComeBack),
        1 => prop_oneof![Just(FallBack), Just(Flush)],
        1 => Just(Restore),
        6 => prop_oneof![1_i64..400, 400_i64..3_000, 3_000_i64..40_000, 40_000_i64..700_000].prop_map(Pass),
        8 => Just(Ask),
    ]
}

/// What really is, and what the sidecar was told of it.
struct World {
    bench: Bench,
    key: KeyRecord,
    tenant: TenantRecord,
    before: (KeyRecord, TenantRecord),
    log: Vec<Changed>,
    is_away: bool,
    /// The store shows something else than what is.
    is_faulty: bool,
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
        let (key, tenant) = (key("key_1", "acme", "s1"), tenant("acme"));
        Self {
            bench: Bench::new(),
            before: (key.clone(), tenant.clone()),
            key,
            tenant,
            log: Vec::new(),
            is_away: false,
            is_faulty: false,
            was_faulty: false,
            came_back: START,
            since: START,
            faulty_since_then: false,
            told: None,
            admitted: None,
        }
    }

    fn is_open(&self) -> bool {
        self.key.status == KeyStatus::Active && self.tenant.status == TenantStatus::Active
    }

    /// Whether this is the news that the key opens nothing.
    fn closes(&self, change: &Changed) -> bool {
        let (of_key, of_tenant) = (Changed::of_key(&self.key), Changed::of_tenant(&self.tenant));
        *change == of_key && self.key.status != KeyStatus::Active || *change == of_tenant && self.tenant.status != TenantStatus::Active
    }

    fn show(&self, key: KeyRecord, tenant: TenantRecord) {
        self.bench.store.put(key);
        self.bench.store.put_tenant(tenant);
    }

    fn change(&mut self, modify: impl FnOnce(&mut Self)) {
        let was_open = self.is_open();
        let before = (self.key.clone(), self.tenant.clone());
        modify(self);
        if self.before.0.version != self.key.version || self.before.1.version != self.tenant.version {
            self.before = before;
        }
        if was_open != self.is_open() {
            (self.since, self.faulty_since_then, self.told) = (self.bench.clock.now(), false, None);
        }
        self.restore();
    }

    fn restore(&mut self) {
        if std::mem::take(&mut self.is_faulty) {
            self.came_back = self.bench.clock.now();
        }
        self.show(self.key.clone(), self.tenant.clone());
    }

    fn hear(&mut self) {
        for change in std::mem::take(&mut self.log) {
            self.bench.authn.apply(&change);
            self.admitted = None;
        }
        let now = self.bench.clock.now();
        self.bench.authn.heard(now);
    }

    fn fail(&mut self) {
        (self.is_faulty, self.was_faulty, self.faulty_since_then, self.admitted) = (true, true, true, None);
    }

    async fn happen(&mut self, event: Event) -> TestCaseResult {
        match event {
            // For ever.
            Event::SetKey(_) if self.key.status == KeyStatus::Revoked => {}
            Event::SetKey(status) => self.change(|world| {
                world.told = world.told.filter(|_| status != KeyStatus::Active);
                (world.key.status, world.key.version) = (status, world.key.version + 1);
                world.log.push(Changed::of_key(&world.key));
            }),
            Event::SetTenant(status) => self.change(|world| {
                world.told = world.told.filter(|_| status != TenantStatus::Active);
                (world.tenant.status, world.tenant.version) = (status, world.tenant.version + 1);
                world.log.push(Changed::of_tenant(&world.tenant));
            }),
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
            Event::Hear | Event::Gap => {}
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
            Event::FallBack => {
                self.fail();
                let (key, tenant) = self.before.clone();
                self.show(key, tenant);
            }
            Event::Flush => {
                self.fail();
                self.bench.store.lose_everything();
            }
            Event::Restore => self.restore(),
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
        if !self.is_away && !self.is_faulty && for_ms >= SILENCE_MS {
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
