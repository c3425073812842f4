//! The law of the whole, over real stores: whatever is interleaved, crashes or times out, no request runs twice, nobody gets the
//! answer of another, and no answer that was complete is lost.

use std::collections::HashMap;

use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::clock::Clock;
use crate::config::sections::{EnvironmentName, Store};
use crate::config::units::Span;
use crate::facts::path::CanonicalPath;
use crate::key::digest::Peppers;
use crate::store::open;
use crate::store::redis_server::RedisServer;
use crate::store::reservation::Reservations;

const TENANTS: [&str; 2] = ["acme", "globex"];

fn rules() -> Arc<Rules> {
    Arc::new(Rules {
        required: true,
        methods: [Method::POST].into(),
        header: HeaderName::from_static("idempotency-key"),
        ttl: Duration::from_hours(1),
        max_body: 1 << 20,
        lease: Duration::from_mins(1),
        max_stored: 1 << 20,
    })
}

fn asked(tenant: &str, key: &str, body: &[u8]) -> Asked {
    let scope = Scope::new(tenant, EnvironmentName::Live, "secret", None);
    let path = CanonicalPath::parse("/pay".parse().unwrap()).unwrap();
    let mut fingerprint = Fingerprint::of_head(&Method::POST, &path);
    fingerprint.add(body);
    Asked { rules: rules(), ticket: Ticket { scope, key: Key::parse(key.as_bytes()).unwrap(), holder: None }, fingerprint }
}

/// What somebody does next.
#[derive(Debug, Clone)]
enum Move {
    /// A request arrives: tenant, key, body.
    Ask(usize, u8, u8),
    /// One of those that run ends: which, and how.
    End(usize, Ending),
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Answered,
    TimedOut,
    /// The upstream got nothing of it, or said so.
    Refused,
    /// The sidecar is killed: nobody says anything, and the lease runs out.
    Killed,
    /// The worker is stopped: its reservation is dropped.
    CutOff,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let ending = prop_oneof![
        3 => Just(Ending::Answered),
        1 => Just(Ending::TimedOut),
        1 => Just(Ending::Refused),
        1 => Just(Ending::Killed),
        1 => Just(Ending::CutOff),
    ];
    let step = prop_oneof![
        3 => (0..TENANTS.len(), 0..2_u8, 0..2_u8).prop_map(|(tenant, key, body)| Move::Ask(tenant, key, body)),
        2 => (any::<usize>(), ending).prop_map(|(which, ending)| Move::End(which, ending)),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What is known from outside of a tenant's key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Runs,
    Answered { body: u8, answer: Bytes },
    Unknown,
}

struct Bench {
    ledger: Arc<Ledger>,
    store: Arc<dyn Reservations>,
    /// Told apart by it: each case begins with nothing.
    case: u32,
}

impl Bench {
    fn key(&self, key: u8) -> String {
        format!("{}-{key}", self.case)
    }

    async fn play(&self, moves: Vec<Move>) {
        let mut known: HashMap<(usize, u8), Known> = HashMap::new();
        let mut running: Vec<(usize, u8, u8, Reservation)> = Vec::new();
        for (number, step) in moves.into_iter().enumerate() {
            match step {
                Move::Ask(tenant, key, body) => {
                    let begun = self.ledger.claim(asked(TENANTS[tenant], &self.key(key), &[body])).await.unwrap();
                    match (known.get(&(tenant, key)), begun) {
                        (None, Begun::First(mut reservation)) => {
                            reservation.begin();
                            known.insert((tenant, key), Known::Runs);
                            running.push((tenant, key, body, reservation));
                        }
                        (Some(Known::Runs), Begun::Running) | (Some(Known::Unknown), Begun::Unknown(_)) => {}
                        (Some(Known::Answered { body: first, answer }), Begun::Again(again)) if *first == body => {
                            assert_eq!(again.body, answer);
                        }
                        (Some(Known::Answered { body: first, .. }), Begun::Differs) if *first != body => {}
                        (known, begun) => panic!("{known:?}, and it is {begun:?}"),
                    }
                }
                Move::End(which, ending) if !running.is_empty() => {
                    let (tenant, key, body, reservation) = running.swap_remove(which % running.len());
                    match self.end(reservation, ending, &format!("{} {key} {body} {number}", TENANTS[tenant])).await {
                        None => drop(known.remove(&(tenant, key))),
                        Some(Known::Answered { answer, .. }) => drop(known.insert((tenant, key), Known::Answered { body, answer })),
                        Some(now) => drop(known.insert((tenant, key), now)),
                    }
                }
                Move::End(..) => {}
            }
        }
        for (.., reservation) in running {
            reservation.finish(Outcome::Released).await;
        }
    }

    async fn end(&self, reservation: Reservation, ending: Ending, words: &str) -> Option<Known> {
        match ending {
            Ending::Answered => {
                let answer = Answer {
                    fingerprint: reservation.fingerprint(),
                    status: StatusCode::OK,
                    reason: Bytes::new(),
                    headers: HeaderMap::new(),
                    trailers: None,
                    body: Bytes::copy_from_slice(words.as_bytes()),
                };
                let body = answer.body.clone();
                reservation.finish(Outcome::Answered(Box::new(answer), self.ledger.answers().begin("acme"))).await;
                return Some(Known::Answered { body: 0, answer: body });
            }
            Ending::TimedOut => reservation.finish(Outcome::Unknown).await,
            Ending::Refused => {
                reservation.finish(Outcome::Released).await;
                return None;
            }
            Ending::Killed => {
                let (place, owner) = reservation.place_and_owner();
                std::mem::forget(reservation);
                assert!(self.store.renew(&place, owner, Duration::ZERO).await.unwrap());
            }
            Ending::CutOff => {
                let (place, _) = reservation.place_and_owner();
                drop(reservation);
                while self.store.look(&place).await.unwrap().unwrap().standing == crate::store::reservation::Standing::Running {
                    tokio::task::yield_now().await;
                }
            }
        }
        Some(Known::Unknown)
    }
}

fn holds(cases: u32, section: &Store) {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(open(section, &Clock::System)).unwrap().reservations;
    let ledger = Ledger::new(Arc::clone(&store), Roots::new(&Peppers::default()), runtime.handle().clone(), Duration::from_secs(10));
    let case = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Cases { cases, failure_persistence: None, ..Cases::default() });
    let ran = runner.run(&moves(), |moves| {
        case.set(case.get() + 1);
        let bench = Bench { ledger: Arc::clone(&ledger), store: Arc::clone(&store), case: case.get() };
        runtime.block_on(bench.play(moves));
        Ok(())
    });
    ran.unwrap();
}

#[test]
fn never_twice_never_anothers_never_lost_in_redis() {
    let server = RedisServer::start();
    holds(150, &Store { command_timeout: Span::secs(30), ..server.config() });
}

#[test]
fn never_twice_never_anothers_never_lost_in_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    holds(40, &Store { url: format!("embedded:{}/keys", dir.path().display()), ..Store::default() });
}

#[test]
fn who_stops_waiting_for_a_claim_leaves_nothing_claimed() {
    let (runtime, server) = (Builder::new_current_thread().enable_all().build().unwrap(), RedisServer::start());
    let store = runtime.block_on(open(&Store { command_timeout: Span::secs(30), ..server.config() }, &Clock::System)).unwrap().reservations;
    let roots = || Roots::new(&Peppers::default());
    let ledger = Ledger::new(Arc::clone(&store), roots(), runtime.handle().clone(), Duration::from_secs(10));
    runtime.block_on(async {
        for _ in 0..50 {
            let claiming = ledger.claim(asked("acme", "k", b""));
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                _ = claiming => {}
            }
        }
        let begun = loop {
            match ledger.claim(asked("acme", "k", b"")).await.unwrap() {
                Begun::Running => tokio::task::yield_now().await,
                other @ (Begun::First(_) | Begun::Again(_) | Begun::Unknown(_) | Begun::Differs) => break other,
            }
        };
        assert!(matches!(begun, Begun::First(_)), "{begun:?}");
    });
}

#[test]
fn a_store_that_comes_back_takes_the_outcome_it_missed() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let store = runtime.block_on(open(&server.config(), &Clock::System)).unwrap().reservations;
    let ledger = Ledger::new(store, Roots::new(&Peppers::default()), runtime.handle().clone(), Duration::from_secs(10));
    runtime.block_on(async {
        let Begun::First(mut reservation) = ledger.claim(asked("acme", "k", b"")).await.unwrap() else { panic!("not the first") };
        reservation.begin();
        server.signal("STOP");
        reservation.finish(Outcome::Released).await;
        assert!(ledger.claim(asked("acme", "k", b"")).await.is_err());
        server.signal("CONT");
        let begun = loop {
            match ledger.claim(asked("acme", "k", b"")).await {
                Ok(Begun::Running) | Err(_) => tokio::task::yield_now().await,
                Ok(other) => break other,
            }
        };
        assert!(matches!(begun, Begun::First(_)), "{begun:?}");
    });
}

#[test]
fn every_mistake_in_the_section_is_reported_at_its_key() {
    for (text, path, words) in [
        ("methods = [\"POST\", \"GET\"]", "idempotency.methods[1]", "GET changes nothing"),
        ("methods = [\"a b\"]", "idempotency.methods[0]", "is not a method"),
        ("methods = []", "idempotency.methods", "would protect nothing"),
        ("max_body = \"33MiB\"", "idempotency.max_body", "at most 32MiB"),
        ("lock_timeout = \"10ms\"", "idempotency.lock_timeout", "too short"),
        ("ttl = \"30s\"", "idempotency.lock_timeout", "longer than `ttl`"),
        ("store_url = \"embedded:x\"", "idempotency.store_url", "no other Redis"),
        ("store_url = \"mysql://x\"", "idempotency.store_url", "is of no store"),
    ] {
        let compiled = |mode: &str| {
            let config = toml::from_str(&format!("[idempotency]\nmode = \"{mode}\"\n{text}")).unwrap();
            let mut problems = Problems::default();
            let rules = Rules::compile(&config, &mut problems);
            crate::store::target::check_reservations(&config, &mut problems);
            (rules, problems)
        };
        let (_, problems) = compiled("optional");
        let is_told = problems.list().iter().any(|problem| problem.path == path && problem.message.contains(words));
        assert!(is_told, "{text}: {:?}", problems.list());
        assert!(matches!(compiled("off"), (Some(None), problems) if problems.list().is_empty()), "{text}");
    }
}
