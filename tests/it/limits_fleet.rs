//! A limit that a fleet counts together: what all its sidecars admit, what that costs the store, and what becomes of it without one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sidegate::clock::instant;

use crate::support::PATIENCE;
use crate::support::client::{Answer, Client, Request, once};
use crate::support::desk::Desk;
use crate::support::fleet::{Fleet, full};
use crate::support::redis::Redis;
use crate::support::seed;
use crate::support::sidecar::Sidecar;

const OPS: &str = "[ops]\nlisten = \"127.0.0.1:0\"\n";

fn issue(fleet: &Fleet) -> String {
    let desk = Desk::open(&fleet.home().config);
    desk.run(desk.store.put_tenant(seed::bare(&seed::tenant(&json!({})))));
    let issued = seed::key(&fleet.home().config, "acme", &json!({}));
    desk.run(desk.store.put_key(seed::bare(&issued.record)));
    issued.secret
}

fn ask(sidecar: &Sidecar, key: &str) -> Answer {
    once(sidecar.address(), &Request::get("/").bearer(key))
}

fn questions(sidecar: &Sidecar) -> u64 {
    let text = once(sidecar.ops(), &Request::get("/metrics")).text();
    let line = text.lines().find(|line| line.starts_with("sidegate_limit_store_operations_total ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What one sidecar answered.
#[derive(Default)]
struct Count {
    asked: AtomicU64,
    admitted: AtomicU64,
}

/// `SIDEGATE_DRILL=full` is the limit and the time of the contract. The short version holds what holds on a busy machine too.
#[test]
fn twenty_sidecars_admit_the_limit_together_and_seldom_ask() {
    let (limit, time) = if full() { (1000_u64, Duration::from_secs(30)) } else { (300, Duration::from_secs(4)) };
    let redis = Redis::start();
    let text = format!("{OPS}[rate_limits.all]\nby = [\"key\"]\nrequests = {limit}\nper = \"1s\"\ncounted = \"fleet\"\ndefault = true\n");
    let fleet = Fleet::start(&vec![redis.url(); 20], &text);
    let key = issue(&fleet);
    for sidecar in &fleet.sidecars {
        // The key is known everywhere before it counts.
        assert_eq!(ask(sidecar, &key).status, 200);
    }
    // As many connections as the sidecar is busy, and how long each rests between two requests.
    let pause = |ms| Duration::from_millis(ms);
    let skew = [(0, 3, pause(0)), (1, 1, pause(1)), (2, 1, pause(3)), (3, 1, pause(10)), (4, 1, pause(10))];
    let tail = (5..20).map(|index| (index, 1, pause(100)));
    let counts: Vec<Count> = fleet.sidecars.iter().map(|_| Count::default()).collect();
    let before: Vec<u64> = fleet.sidecars.iter().map(questions).collect();
    let (stop, began) = (AtomicBool::new(false), instant());
    thread::scope(|scope| {
        for (index, connections, pause) in skew.into_iter().chain(tail) {
            for _ in 0..connections {
                let (count, address, stop, key) = (&counts[index], fleet.sidecars[index].address(), &stop, &key);
                scope.spawn(move || {
                    let (mut client, request) = (Client::connect(address), Request::get("/").bearer(key).bytes());
                    while !stop.load(Ordering::Relaxed) {
                        client.send(&request);
                        let status = client.answer("GET").status;
                        assert!(matches!(status, 200 | 429), "{status}");
                        count.asked.fetch_add(1, Ordering::Relaxed);
                        count.admitted.fetch_add(u64::from(status == 200), Ordering::Relaxed);
                        thread::park_timeout(pause);
                    }
                });
            }
        }
        while began.elapsed() < time {
            thread::park_timeout(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap();
    let read = |of: fn(&Count) -> &AtomicU64| counts.iter().map(|count| of(count).load(Ordering::Relaxed)).collect::<Vec<_>>();
    let (asked, admitted) = (read(|count| &count.asked), read(|count| &count.admitted));
    let operations: Vec<u64> = fleet.sidecars.iter().zip(&before).map(|(sidecar, before)| questions(sidecar) - before).collect();
    let (all, offered): (u64, u64) = (admitted.iter().sum(), asked.iter().sum());
    let per_mille = all * 1_000_000 / (limit * took_ms);
    println!("{limit}/s over 20 sidecars for {took_ms} ms: {offered} asked, {all} admitted, {per_mille} per mille of the limit");
    println!("asked {asked:?}\nadmitted {admitted:?}\nquestions to the store {operations:?}");
    for (index, (asked, operations)) in asked.iter().zip(&operations).enumerate() {
        if asked * 1000 / took_ms >= 100 {
            println!("sidecar {index}: {}/s, one question for {} requests", asked * 1000 / took_ms, asked / operations.max(&1));
            // While a portion grows to the load it is asked for more often.
            assert!(*operations <= asked / 50 + 8, "sidecar {index}: {operations} questions for {asked} requests");
        }
    }
    // A full bucket at first, what came since, and what was held at the beginning.
    assert!(all <= limit * (took_ms + 1100) / 1000 + 20 * 12, "{all}");
    if full() {
        assert!((950..=1050).contains(&per_mille), "{per_mille}");
    }
}

/// A redis-server that finds its data again after it was killed.
fn durable() -> Redis {
    Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Two sidecars whose store is gone, and a key that both know; the limit is 80 in an hour.
fn bereft(on_unavailable: &str) -> (Redis, Fleet, String) {
    let mut redis = durable();
    let text = format!(
        "[rate_limits.all]\nby = [\"key\"]\nrequests = 80\nper = \"1h\"\ncounted = \"fleet\"\non_unavailable = \"{on_unavailable}\"\ndefault = true\n"
    );
    let fleet = Fleet::start(&vec![redis.url(); 2], &text);
    let key = issue(&fleet);
    assert_eq!(fleet.sidecars.iter().map(|sidecar| ask(sidecar, &key).status).collect::<Vec<_>>(), [200, 200]);
    redis.stop();
    (redis, fleet, key)
}

/// Asks until the answer has this status.
fn until(status: u16, mut ask: impl FnMut() -> Answer) -> Answer {
    let began = instant();
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "never {status}: {} {}", answer.status, answer.text());
    }
}

#[test]
fn without_the_store_each_sidecar_admits_its_share_and_no_more() {
    let (mut redis, fleet, key) = bereft("local");
    for sidecar in &fleet.sidecars {
        let answers: Vec<Answer> = (0..100).map(|_| ask(sidecar, &key)).collect();
        let admitted = answers.iter().filter(|answer| answer.status == 200).count();
        // Half of the limit, and what it held of the portion of ten.
        assert!((40..=51).contains(&admitted), "{admitted}");
        let last = answers.last().unwrap();
        assert_eq!((last.status, last.header("Retry-After").is_some()), (429, true));
    }
    redis.run();
    let answer = until(200, || ask(&fleet.sidecars[0], &key));
    assert!(answer.header("RateLimit").is_some());
    // The fleet's bucket goes on where it was: together they get no more than it holds.
    let more: usize = fleet.sidecars.iter().map(|sidecar| (0..100).filter(|_| ask(sidecar, &key).status == 200).count()).sum();
    assert!(more < 80, "{more}");
}

#[test]
fn without_the_store_a_limit_that_denies_refuses_with_503_and_comes_back() {
    let (mut redis, fleet, key) = bereft("deny");
    let refused = until(503, || ask(&fleet.sidecars[0], &key));
    assert!(refused.header("Retry-After").is_some() && refused.header("WWW-Authenticate").is_none());
    assert_eq!(ask(&fleet.sidecars[0], &key).status, 503);
    redis.run();
    until(200, || ask(&fleet.sidecars[0], &key));
}
