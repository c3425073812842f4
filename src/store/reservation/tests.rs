//! What every store must do with reservations, held to a model that knows nothing of how they are kept.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::clock::Clock;
use crate::config::sections;
use crate::config::units::Span;
use crate::store::open;
use crate::store::redis_server::RedisServer;
use crate::store::redis_server::cluster::RedisCluster;

const HOUR: Duration = Duration::from_hours(1);

/// A machine may be busy.
const PATIENT: Span = Span::secs(30);

/// Ends the reservation of a tenant with this name.
type End = dyn Fn(&str, Id);

/// A store, and how a reservation in it comes to its end.
struct Bench {
    store: Arc<dyn Reservations>,
    end: Box<End>,
}

async fn embedded(dir: &tempfile::TempDir, clock: &Clock) -> Bench {
    let path = dir.path().join("keys");
    let section = sections::Store { url: format!("embedded:{}", path.display()), ..sections::Store::default() };
    let store = open(&section, clock).await.unwrap().reservations;
    let end = move |_: &str, id: Id| {
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.busy_timeout(Duration::from_secs(5)).unwrap();
        raw.execute("UPDATE reservations SET expires_at = 0 WHERE id = ?1", [id.0]).unwrap();
    };
    Bench { store, end: Box::new(end) }
}

async fn redis(server: &RedisServer, prefix: &str) -> Bench {
    let section = sections::Store { key_prefix: prefix.into(), command_timeout: PATIENT, ..server.config() };
    let store = open(&section, &Clock::System).await.unwrap().reservations;
    let (raw, prefix) = (std::cell::RefCell::new(server.raw()), prefix.to_owned());
    let end = move |tenant: &str, id: Id| {
        redis::cmd("DEL").arg(format!("{prefix}idempotency:{{{tenant}}}:{}", id.to_hex())).exec(&mut *raw.borrow_mut()).unwrap();
    };
    Bench { store, end: Box::new(end) }
}

fn place(tenant: &str, ids: &[u8]) -> Place {
    Place { tenant: tenant.into(), ids: ids.iter().map(|id| Id([*id; 32])).collect() }
}

fn claim(owner: u8, lease: Duration) -> Claim {
    Claim { owner: Owner([owner; 16]), lease, ttl: 72 * HOUR }
}

fn done(answer: &[u8], bound: u64) -> Fate {
    Fate::Done(Kept { sealed: answer.into(), bound, grain: HOUR })
}

/// A step of somebody.
#[derive(Debug, Clone)]
enum Op {
    Claim { at: usize, owner: u8, alive: bool },
    Renew { at: usize, owner: u8, alive: bool },
    Settle { at: usize, owner: u8, end: u8 },
    Look { at: usize },
    Release { at: usize },
    End { at: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let at = 0..PLACES.len();
    let owner = 0..3_u8;
    let op = prop_oneof![
        4 => (at.clone(), owner.clone(), any::<bool>()).prop_map(|(at, owner, alive)| Op::Claim { at, owner, alive }),
        2 => (at.clone(), owner.clone(), any::<bool>()).prop_map(|(at, owner, alive)| Op::Renew { at, owner, alive }),
        4 => (at.clone(), owner, 0..4_u8).prop_map(|(at, owner, end)| Op::Settle { at, owner, end }),
        2 => at.clone().prop_map(|at| Op::Look { at }),
        1 => at.clone().prop_map(|at| Op::Release { at }),
        1 => at.prop_map(|at| Op::End { at }),
    ];
    proptest::collection::vec(op, 1..40)
}

/// Of two tenants; the first is looked at by sidecars with an old pepper, with a new one, and with both.
const PLACES: [(&str, &[u8]); 5] = [("acme", &[1]), ("acme", &[2, 1]), ("acme", &[1, 2]), ("globex", &[3]), ("globex", &[4])];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Model {
    Running { alive: bool },
    Done(Vec<u8>),
    Unknown,
}

type Models = HashMap<u8, (Model, u8)>;

fn found(models: &Models, ids: &[u8]) -> Option<u8> {
    ids.iter().copied().find(|id| models.contains_key(id))
}

fn told(model: &Model) -> Claimed {
    match model {
        Model::Running { alive: true } => Claimed::Running,
        Model::Running { alive: false } | Model::Unknown => Claimed::Unknown,
        Model::Done(answer) => Claimed::Done(answer.clone()),
    }
}

fn lease(alive: bool) -> Duration {
    if alive { HOUR } else { Duration::ZERO }
}

async fn step(bench: &Bench, models: &mut Models, op: &Op) {
    let (Op::Claim { at, .. } | Op::Renew { at, .. } | Op::Settle { at, .. } | Op::Look { at } | Op::Release { at } | Op::End { at }) = op;
    let (tenant, ids) = PLACES[*at];
    let (place, store) = (place(tenant, ids), &bench.store);
    let own = models.get(&ids[0]).cloned();
    match *op {
        Op::Claim { owner, alive, .. } => {
            let expected = found(models, ids).map(|id| told(&models[&id].0));
            assert_eq!(store.claim(&place, &claim(owner, lease(alive))).await.unwrap(), expected.clone().unwrap_or(Claimed::First));
            if expected.is_none() {
                models.insert(ids[0], (Model::Running { alive }, owner));
            }
        }
        Op::Renew { owner, alive, .. } => {
            let runs = matches!(own, Some((Model::Running { .. }, of)) if of == owner);
            assert_eq!(store.renew(&place, Owner([owner; 16]), lease(alive)).await.unwrap(), runs);
            if runs {
                models.insert(ids[0], (Model::Running { alive }, owner));
            }
        }
        Op::Settle { owner, end, .. } => {
            let answer = [owner, end, 0, 255];
            let fate = match end {
                0 => Fate::Released,
                1 => Fate::Unknown,
                _ => done(&answer, u64::MAX >> 1),
            };
            let (expected, becomes) = match (own, end) {
                (Some((Model::Running { .. }, of)), 0) if of == owner => (Settled::Settled, None),
                (Some((Model::Running { .. }, of)), 1) if of == owner => (Settled::Settled, Some(Model::Unknown)),
                (Some((Model::Running { .. }, of)), _) if of == owner => (Settled::Settled, Some(Model::Done(answer.to_vec()))),
                (Some((now @ Model::Unknown, of)), 1) if of == owner => (Settled::Settled, Some(now)),
                (Some((now @ Model::Done(_), of)), 2..) if of == owner => (Settled::Settled, Some(now)),
                _ => {
                    assert_eq!(store.settle(&place, Owner([owner; 16]), &fate).await.unwrap(), Settled::Lost);
                    return;
                }
            };
            assert_eq!(store.settle(&place, Owner([owner; 16]), &fate).await.unwrap(), expected);
            match becomes {
                Some(model) => drop(models.insert(ids[0], (model, owner))),
                None => drop(models.remove(&ids[0])),
            }
        }
        Op::Look { .. } => {
            let seen = store.look(&place).await.unwrap().map(|reserved| (reserved.standing, reserved.sealed));
            let expected = found(models, ids).map(|id| match told(&models[&id].0) {
                Claimed::Running => (Standing::Running, Vec::new()),
                Claimed::Done(answer) => (Standing::Done, answer),
                Claimed::Unknown | Claimed::First => (Standing::Unknown, Vec::new()),
            });
            assert_eq!(seen, expected);
        }
        Op::Release { .. } => {
            let expected = match found(models, ids).map(|id| (id, told(&models[&id].0))) {
                None => Released::Absent,
                Some((_, Claimed::Running)) => Released::Running,
                Some((id, _)) => {
                    models.remove(&id);
                    Released::Released
                }
            };
            assert_eq!(store.release(&place).await.unwrap(), expected);
        }
        Op::End { .. } => {
            (bench.end)(tenant, Id([ids[0]; 32]));
            models.remove(&ids[0]);
        }
    }
}

/// Any steps of anybody, in any order: the store says what the model says.
fn agrees_with_the_model(runtime: &tokio::runtime::Runtime, cases: u32, bench: impl Fn() -> Bench) {
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&ops(), |ops| {
        let bench = bench();
        runtime.block_on(async {
            let mut models = Models::new();
            for op in &ops {
                step(&bench, &mut models, op).await;
            }
            for (tenant, ids) in PLACES {
                (bench.end)(tenant, Id([ids[0]; 32]));
            }
        });
        Ok(())
    });
    ran.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn redis_agrees_with_the_model() {
    let (runtime, server) = (runtime(), RedisServer::start());
    agrees_with_the_model(&runtime, 200, || runtime.block_on(redis(&server, "x:")));
}

#[test]
fn the_embedded_store_agrees_with_the_model() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    agrees_with_the_model(&runtime, 60, || runtime.block_on(embedded(&dir, &Clock::System)));
}

async fn of_many_claims_one_is_the_first(store: Arc<dyn Reservations>) {
    let claims: Vec<_> = (0..50)
        .map(|owner| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.claim(&place("acme", &[1]), &claim(owner, HOUR)).await.unwrap() })
        })
        .collect();
    let mut first = 0;
    for claimed in claims {
        match claimed.await.unwrap() {
            Claimed::First => first += 1,
            other @ (Claimed::Running | Claimed::Unknown | Claimed::Done(_)) => assert_eq!(other, Claimed::Running),
        }
    }
    assert_eq!(first, 1);
}

async fn a_tenants_answers_are_bounded_and_a_release_makes_room(store: Arc<dyn Reservations>) {
    let keep = async |tenant: &str, id: u8, size: usize| {
        let (place, owner) = (place(tenant, &[id]), Owner([id; 16]));
        assert_eq!(store.claim(&place, &claim(id, HOUR)).await.unwrap(), Claimed::First);
        store.settle(&place, owner, &done(&vec![id; size], 100)).await.unwrap()
    };
    assert_eq!(keep("acme", 1, 60).await, Settled::Settled);
    assert_eq!(keep("acme", 2, 41).await, Settled::Full);
    assert_eq!(keep("acme", 3, 40).await, Settled::Settled);
    assert_eq!(keep("globex", 4, 100).await, Settled::Settled);
    assert_eq!(store.claim(&place("acme", &[2]), &claim(9, HOUR)).await.unwrap(), Claimed::Unknown);
    assert_eq!(store.release(&place("acme", &[2])).await.unwrap(), Released::Released);
    assert_eq!(keep("acme", 2, 1).await, Settled::Full);
    assert_eq!(store.release(&place("acme", &[1])).await.unwrap(), Released::Released);
    assert_eq!(keep("acme", 1, 60).await, Settled::Settled);
    assert_eq!(keep("acme", 5, 1).await, Settled::Full);
}

async fn it_lives_from_its_claim_on(store: Arc<dyn Reservations>) {
    let (place, claim) = (place("acme", &[1]), claim(1, HOUR));
    store.claim(&place, &claim).await.unwrap();
    let before = store.look(&place).await.unwrap().unwrap();
    assert_eq!(store.settle(&place, claim.owner, &done(b"x", 100)).await.unwrap(), Settled::Settled);
    let after = store.look(&place).await.unwrap().unwrap();
    assert_eq!(after.claimed_at, before.claimed_at);
    for Reserved { claimed_at, expires_at, .. } in [before, after] {
        let life = expires_at.0 - claimed_at.0;
        // Redis tells what is left, in milliseconds.
        assert!((life - state::millis(72 * HOUR)).abs() < 100, "{life}");
    }
}

macro_rules! against_every_store {
    ($($case:ident)+) => {
        mod embedded_store {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(super::embedded(&dir, &super::Clock::System).await.store).await;
            })+
        }
        mod redis_server {
            $(#[tokio::test]
            async fn $case() {
                let server = super::RedisServer::start();
                super::$case(super::redis(&server, "x:").await.store).await;
            })+
        }
        mod redis_cluster {
            $(#[tokio::test]
            async fn $case() {
                let config = super::RedisCluster::shared().config();
                let config = super::sections::Store { key_prefix: concat!("reservation ", stringify!($case), ":").into(), command_timeout: super::PATIENT, ..config };
                super::$case(super::open(&config, &super::Clock::System).await.unwrap().reservations).await;
            })+
        }
    };
}

against_every_store! {
    of_many_claims_one_is_the_first
    a_tenants_answers_are_bounded_and_a_release_makes_room
    it_lives_from_its_claim_on
}

#[tokio::test]
async fn the_embedded_store_frees_a_place_when_its_time_is_over_and_counts_its_bytes_no_more() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::manual(Timestamp(1_700_000_000_000)));
    let store = embedded(&dir, &clock).await.store;
    let (one, other) = (place("acme", &[1]), place("acme", &[2]));
    assert_eq!(store.claim(&one, &claim(1, HOUR)).await.unwrap(), Claimed::First);
    assert_eq!(store.settle(&one, Owner([1; 16]), &done(&[7; 100], 100)).await.unwrap(), Settled::Settled);
    clock.advance(state::millis(72 * HOUR) - 1);
    assert_eq!(store.claim(&one, &claim(2, HOUR)).await.unwrap(), Claimed::Done(vec![7; 100]));
    assert_eq!(store.claim(&other, &claim(2, HOUR)).await.unwrap(), Claimed::First);
    assert_eq!(store.settle(&other, Owner([2; 16]), &done(b"x", 100)).await.unwrap(), Settled::Full);
    clock.advance(1);
    assert_eq!(store.look(&one).await.unwrap(), None);
    assert_eq!(store.claim(&one, &claim(3, HOUR)).await.unwrap(), Claimed::First);
    // Bytes are counted until the end of their step.
    clock.advance(state::millis(HOUR));
    assert_eq!(store.settle(&one, Owner([3; 16]), &done(&[7; 100], 100)).await.unwrap(), Settled::Settled);
}

#[tokio::test]
async fn what_is_no_reservation_is_an_unknown_one_and_never_runs() {
    let server = RedisServer::start();
    let store = redis(&server, "x:").await.store;
    let spoil = |id: u8, words: &str| {
        let name = format!("x:idempotency:{{acme}}:{}", Id([id; 32]).to_hex());
        server.tell::<redis::Value>(&words.replace("NAME", &name));
    };
    spoil(1, "HSET NAME state done");
    spoil(2, "HSET NAME state whatever owner x");
    spoil(3, "HSET NAME lease 99999999999999");
    spoil(4, "HSET NAME state running lease tomorrow");
    for id in 1..=4 {
        assert_eq!(store.claim(&place("acme", &[id]), &claim(1, HOUR)).await.unwrap(), Claimed::Unknown, "{id}");
    }
    spoil(5, "SET NAME x");
    assert!(matches!(store.claim(&place("acme", &[5]), &claim(1, HOUR)).await, Err(StoreError::Corrupt { .. })));
}
