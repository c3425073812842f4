//! What every store must do with usage: what is flushed is the sum of what was gathered, whoever flushed it in which order; and what
//! was not added is told from what nobody knows of.

mod faults;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::clock::Clock;
use crate::config::sections;
use crate::config::units::Span;
use crate::store::open;
use crate::store::redis_server::RedisServer;
use crate::store::redis_server::cluster::RedisCluster;

const AT: Timestamp = Timestamp(1_800_000_000_000);
const DAY_MS: i64 = 86_400_000;

/// A machine may be busy.
const PATIENT: Span = Span::secs(30);

type Shared = Arc<dyn Usages>;

async fn embedded(dir: &tempfile::TempDir) -> Shared {
    let section = sections::Store { url: format!("embedded:{}", dir.path().join("keys").display()), ..sections::Store::default() };
    open(&section, &Clock::System).await.unwrap().usages
}

async fn redis(server: &RedisServer, prefix: &str) -> Shared {
    let section = sections::Store { key_prefix: prefix.into(), command_timeout: PATIENT, ..server.config() };
    open(&section, &Clock::System).await.unwrap().usages
}

fn day(index: i64) -> Day {
    Day::of(AT.plus_millis(index * DAY_MS))
}

/// So many requests of a key on a day, and nothing else.
fn requests(key: &str, index: i64, requests: u64) -> KeyUse {
    KeyUse {
        key: key.into(),
        days: SmallVec::from_iter([(day(index), Counts { requests, ..Counts::default() })]),
        last: None,
        networks: SmallVec::new(),
        networks_missed: None,
        scopes: SmallVec::new(),
        scopes_missed: None,
    }
}

fn denial(request_id: &str, key: Option<&str>, reason: &str, time: Timestamp) -> Denial {
    Denial {
        time,
        request_id: request_id.into(),
        reason: reason.into(),
        detail: "a \"detail\"".into(),
        observed: false,
        status: Some(403),
        tenant: key.map(|_| "acme".to_owned()),
        key: key.map(ToOwned::to_owned),
        credential: key.is_none().then(|| "sk_live_…/0a1b2c3d".to_owned()),
        client: Some("2001:db8::7".parse().unwrap()),
        method: "GET".into(),
        path: "/v1/users".into(),
    }
}

/// Takes all of it.
async fn flush(store: &Shared, keys: Vec<KeyUse>, denials: Vec<Denial>) {
    let flushed = store.flush(Flush { keys, denials }).await;
    assert!(flushed.error.is_none() && flushed.left.is_empty(), "{flushed:?}");
    assert_eq!((flushed.unknown_requests, flushed.unknown_denials), (0, 0));
}

async fn usage_of(store: &Shared, key: &str) -> KeyUsage {
    store.usage(&[key], day(-1000), day(1000)).await.unwrap().remove(0)
}

async fn what_nobody_used_reads_as_nothing(store: Shared) {
    assert_eq!(store.usage(&["key_1", "key_2"], day(0), day(1)).await.unwrap(), vec![KeyUsage::default(); 2]);
    assert_eq!(store.last_uses(&["key_1"]).await.unwrap(), [None]);
    let page = store.denials(&DenialFilter::default(), None, 10).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_none());
    flush(&store, vec![], vec![]).await;
}

async fn days_are_told_from_the_first_to_the_last_and_no_others(store: Shared) {
    let many: Vec<KeyUse> = (0..5).map(|index| requests("key_1", index, 10 + index.unsigned_abs())).collect();
    for one in many {
        flush(&store, vec![one, requests("key_2", 9, 1)], vec![]).await;
    }
    let usage = store.usage(&["key_1", "key_2"], day(1), day(3)).await.unwrap();
    let told: Vec<(String, u64)> = usage[0].days.iter().map(|of| (of.day.to_string(), of.requests)).collect();
    assert_eq!(told, [(day(1).to_string(), 11), (day(2).to_string(), 12), (day(3).to_string(), 13)]);
    assert!(usage[1].days.is_empty());
    assert_eq!(usage_of(&store, "key_2").await.days.iter().map(|of| of.requests).collect::<Vec<_>>(), [5]);
}

async fn the_last_use_never_goes_back(store: Shared) {
    let from = |text: &str| Some(text.parse().unwrap());
    for (at, address, told, told_from) in [
        (10, from("192.0.2.1"), 10, Some("192.0.2.1")),
        (5, from("192.0.2.5"), 10, Some("192.0.2.1")),
        (20, None, 20, None),
        (21, from("2001:db8::1"), 21, Some("2001:db8::1")),
    ] {
        flush(&store, vec![KeyUse { last: Some((AT.plus_millis(at), address)), ..requests("key_1", 0, 1) }], vec![]).await;
        let expected = LastUse { at: AT.plus_millis(told), from: told_from.map(ToOwned::to_owned) };
        assert_eq!(store.last_uses(&["key_2", "key_1"]).await.unwrap(), [None, Some(expected.clone())]);
        assert_eq!(usage_of(&store, "key_1").await.last, Some(expected));
    }
}

async fn the_networks_and_scopes_that_were_seen_last_stay(store: Shared) {
    let at = |index: usize| AT.plus_millis(i64::try_from(index).unwrap());
    let network = |index: usize| -> Network { format!("10.0.{index}.0/24").parse().unwrap() };
    for index in 0..NETWORKS_MAX + 2 {
        let seen = SmallVec::from_iter([(network(index), at(index), at(index))]);
        flush(&store, vec![KeyUse { networks: seen, ..requests("key_1", 0, 1) }], vec![]).await;
        let missed = (index >= NETWORKS_MAX).then(|| at(index));
        assert_eq!(usage_of(&store, "key_1").await.networks_missed, missed);
    }
    let scopes = (0..=SCOPES_MAX).map(|index| (format!("read:{index}").into(), at(index))).collect::<Vec<(Box<str>, _)>>();
    for scopes in scopes.chunks(50) {
        flush(&store, vec![KeyUse { scopes: scopes.iter().cloned().collect(), ..requests("key_1", 0, 1) }], vec![]).await;
    }
    let usage = usage_of(&store, "key_1").await;
    let names: Vec<&str> = usage.networks.iter().map(|seen| seen.network.as_str()).collect();
    assert_eq!((names.len(), names.first(), names.last()), (NETWORKS_MAX, Some(&"10.0.33.0/24"), Some(&"10.0.2.0/24")));
    let names: Vec<&str> = usage.scopes.iter().map(|used| used.scope.as_str()).collect();
    assert_eq!((names.len(), names.first(), names.last()), (SCOPES_MAX, Some(&"read:256"), Some(&"read:1")));
    assert!(usage.scopes_missed.is_some());
}

async fn denials_are_told_page_by_page_the_latest_first(store: Shared) {
    let all: Vec<Denial> = (0..1203)
        .map(|index| {
            let (key, reason) = if index % 3 == 0 { (None, "key_unknown") } else { (Some("key_1"), "ip_denied") };
            denial(&format!("request-{index}"), key, reason, AT.plus_millis(index))
        })
        .collect();
    for denials in all.chunks(200) {
        flush(&store, vec![], denials.to_vec()).await;
    }
    let (mut told, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.denials(&DenialFilter::default(), cursor.as_deref(), 100).await.unwrap();
        assert!(page.items.len() <= 100 && page.unreadable.is_empty());
        told.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert!(told.iter().eq(all.iter().rev()));
    let find = async |filter: DenialFilter| store.denials(&filter, None, 2000).await.unwrap().items.len();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(find(DenialFilter { request_id: text("request-7"), ..DenialFilter::default() }).await, 1);
    assert_eq!(find(DenialFilter { request_id: text("request-"), ..DenialFilter::default() }).await, 0);
    assert_eq!(find(DenialFilter { key: text("key_1"), ..DenialFilter::default() }).await, 802);
    assert_eq!(find(DenialFilter { reason: text("key_unknown"), ..DenialFilter::default() }).await, 401);
    assert_eq!(find(DenialFilter { tenant: text("globex"), ..DenialFilter::default() }).await, 0);
    assert_eq!(find(DenialFilter { since: Some(AT.plus_millis(1200)), key: text("key_1"), ..DenialFilter::default() }).await, 2);
}

async fn only_so_many_denials_are_kept(store: Shared) {
    let total = i64::try_from(DENIALS_KEPT).unwrap() + 1000;
    let all: Vec<Denial> = (0..total).map(|index| denial(&format!("{index}"), None, "key_unknown", AT)).collect();
    for denials in all.chunks(500) {
        flush(&store, vec![], denials.to_vec()).await;
    }
    let kept = store.denials(&DenialFilter::default(), None, usize::MAX).await.unwrap().items;
    assert!((DENIALS_KEPT..DENIALS_KEPT + 200).contains(&kept.len()), "{}", kept.len());
    assert!(kept.iter().zip(all.iter().rev()).all(|(kept, made)| kept == made));
}

fn names() -> impl Strategy<Value = KeyUse> {
    let time = || (0..3 * DAY_MS).prop_map(|ms| AT.plus_millis(ms));
    let reasons = proptest::collection::vec((0..3_usize, 1..9_u64), 0..3);
    let counts = (0..1_000_u64, 0..1_u64 << 40, 0..9_u64, reasons).prop_map(|(requests, received_bytes, sent_bytes, reasons)| {
        let denied: BTreeMap<usize, u64> = reasons.into_iter().collect();
        let denied = denied.into_iter().map(|(index, count)| (Rejection::ALL[index + 20], count)).collect();
        Counts { requests, received_bytes, sent_bytes, denied }
    });
    let days = proptest::collection::btree_map(0..3_i64, counts, 1..3);
    let last = proptest::option::of((time(), 0..4_u8));
    let networks = proptest::collection::btree_map(0..4_u8, (time(), time()), 0..4);
    let scopes = proptest::collection::btree_map(0..4_usize, time(), 0..4);
    (0..2_u8, days, last, networks, scopes, proptest::option::of(time())).prop_map(|(key, days, last, networks, scopes, missed)| KeyUse {
        key: format!("key_{key}").into(),
        days: days.into_iter().map(|(index, counts)| (day(index), counts)).collect(),
        last: last.map(|(at, host)| (at, (host > 0).then(|| [192, 0, 2, host].into()))),
        networks: networks.into_iter().map(|(index, (a, b))| (format!("10.0.{index}.0/24").parse().unwrap(), a.min(b), a.max(b))).collect(),
        networks_missed: missed,
        scopes: scopes.into_iter().map(|(index, at)| (["read:a", "read:b", "read:a read:b", "x"][index].into(), at)).collect(),
        scopes_missed: missed,
    })
}

/// The sum, by another way than any store's.
fn told(all: &[KeyUse], key: &str) -> KeyUsage {
    let of_key = || all.iter().filter(|one| *one.key == *key);
    let mut days: BTreeMap<Day, DayUsage> = BTreeMap::new();
    for (day, counts) in of_key().flat_map(|one| &one.days) {
        let none = DayUsage { day: *day, requests: 0, denied: BTreeMap::new(), received_bytes: 0, sent_bytes: 0 };
        let sum = days.entry(*day).or_insert(none);
        sum.requests += counts.requests;
        sum.received_bytes += counts.received_bytes;
        sum.sent_bytes += counts.sent_bytes;
        for (rejection, count) in &counts.denied {
            *sum.denied.entry(rejection.row().reason.to_owned()).or_default() += count;
        }
    }
    // The first of equal times stays.
    let last = of_key().filter_map(|one| one.last).fold(None, |last: Option<(Timestamp, Option<IpAddr>)>, next| match last {
        Some(last) if last.0 >= next.0 => Some(last),
        _ => Some(next),
    });
    let mut networks: BTreeMap<String, NetworkSeen> = BTreeMap::new();
    for (network, first, last) in of_key().flat_map(|one| &one.networks) {
        let network = network.to_string();
        let seen = networks.entry(network.clone()).or_insert(NetworkSeen { network, first: *first, last: *last });
        (seen.first, seen.last) = (*first.min(&seen.first), *last.max(&seen.last));
    }
    let mut scopes: BTreeMap<&str, Timestamp> = BTreeMap::new();
    for (scope, at) in of_key().flat_map(KeyUse::scopes) {
        let latest = scopes.entry(scope).or_insert(at);
        *latest = at.max(*latest);
    }
    let mut networks: Vec<NetworkSeen> = networks.into_values().collect();
    networks.sort_by_key(|seen| std::cmp::Reverse(seen.last));
    let mut scopes: Vec<ScopeUsed> = scopes.into_iter().map(|(scope, last)| ScopeUsed { scope: scope.to_owned(), last }).collect();
    scopes.sort_by_key(|used| std::cmp::Reverse(used.last));
    KeyUsage {
        days: days.into_values().collect(),
        last: last.map(|(at, from)| LastUse { at, from: from.map(|from| from.to_string()) }),
        networks,
        networks_missed: of_key().filter_map(|one| one.networks_missed).max(),
        scopes,
        scopes_missed: of_key().filter_map(|one| one.scopes_missed).max(),
    }
}

/// Flushes of any keys in any order read as their sum. Each case has a store of its own.
fn flushes_add_up(cases: u32, store: &dyn Fn(u32) -> (tokio::runtime::Runtime, Shared)) {
    let number = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let run = |flushes: Vec<KeyUse>| {
        let (runtime, store) = store(number.replace(number.get() + 1));
        runtime.block_on(async {
            for two in flushes.chunks(2) {
                let mut keys = two.to_vec();
                // Each key once.
                if keys.len() == 2 && keys[0].key == keys[1].key {
                    let second = keys.pop().unwrap();
                    keys[0].absorb(second);
                }
                flush(&store, keys, vec![]).await;
            }
            for key in ["key_0", "key_1"] {
                prop_assert_eq!(usage_of(&store, key).await, told(&flushes, key));
            }
            Ok(())
        })
    };
    runner.run(&proptest::collection::vec(names(), 1..7), run).unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn flushes_add_up_in_the_embedded_store() {
    let dirs = tempfile::tempdir().unwrap();
    flushes_add_up(16, &|number| {
        let path = dirs.path().join(number.to_string());
        let section = sections::Store { url: format!("embedded:{}", path.display()), ..sections::Store::default() };
        let runtime = runtime();
        let store = runtime.block_on(open(&section, &Clock::System)).unwrap().usages;
        (runtime, store)
    });
}

#[test]
fn flushes_add_up_in_redis() {
    let server = RedisServer::start();
    flushes_add_up(48, &|number| {
        let runtime = runtime();
        let store = runtime.block_on(redis(&server, &format!("{number}:")));
        (runtime, store)
    });
}

macro_rules! against_every_store {
    ($($case:ident)+) => {
        mod embedded_store {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                super::$case(super::embedded(&dir).await).await;
            })+
        }
        mod redis_server {
            $(#[tokio::test]
            async fn $case() {
                let server = super::RedisServer::start();
                super::$case(super::redis(&server, "x:").await).await;
            })+
        }
        mod redis_cluster {
            $(#[tokio::test]
            async fn $case() {
                let config = super::RedisCluster::shared().config();
                let config = super::sections::Store { key_prefix: concat!("usage ", stringify!($case), ":").into(), command_timeout: super::PATIENT, ..config };
                super::$case(super::open(&config, &super::Clock::System).await.unwrap().usages).await;
            })+
        }
    };
}

against_every_store! {
    what_nobody_used_reads_as_nothing
    days_are_told_from_the_first_to_the_last_and_no_others
    the_last_use_never_goes_back
    the_networks_and_scopes_that_were_seen_last_stay
    denials_are_told_page_by_page_the_latest_first
    only_so_many_denials_are_kept
}
