use super::*;
use crate::config::sections;
use crate::key::record::KeyStatus;
use crate::store::contract::{key, tenant};
use crate::store::open;
use crate::store::redis_server::RedisServer;

const DAY: i64 = 86_400_000;
const START: Timestamp = Timestamp(1_700_000_000_000);

/// Chores over a store of this url, by a clock that stands at the start.
async fn chores(url: String, clock: &Clock) -> Chores {
    let section = sections::Store { url, command_timeout: Span::secs(10), ..sections::Store::default() };
    let store = open(&section, clock).await.unwrap().store;
    Chores::new(&Config::default(), store, clock.clone())
}

fn embedded(dir: &tempfile::TempDir) -> String {
    format!("embedded:{}", dir.path().join("keys").display())
}

async fn put(chores: &Chores, before: Option<&KeyRecord>, record: &KeyRecord) {
    let event = Event::of(&Actor::local("test"), Action::Update, chores.clock.now(), before, record);
    chores.store.put_key(Audited { record, event }).await.unwrap();
}

async fn there(chores: &Chores) -> Vec<String> {
    chores.store.list_keys(None, None, 100).await.unwrap().items.into_iter().map(|key| key.id).collect()
}

async fn events(chores: &Chores) -> Vec<(String, String)> {
    let page = chores.store.list_events(&Query { limit: 100, ..Query::default() }).await.unwrap();
    page.items.into_iter().map(|event| (event.actor, event.action)).collect()
}

async fn a_life(url: String) {
    let clock = Clock::manual(START);
    let chores = chores(url, &clock).await;
    let event = Event::of(&Actor::local("test"), Action::Create, START, None, &tenant("acme"));
    chores.store.put_tenant(Audited { record: &tenant("acme"), event }).await.unwrap();
    let (alive, expiring) =
        (key("key_1", "acme", "s1"), KeyRecord { expires_at: Some(START.plus_millis(DAY)), ..key("key_2", "acme", "s2") });
    let (revoked, off) = (key("key_3", "acme", "s3"), KeyRecord { status: KeyStatus::Inactive, ..key("key_4", "acme", "s4") });
    for record in [&alive, &expiring, &revoked, &off] {
        put(&chores, None, record).await;
    }
    clock.advance(200 * DAY);
    put(&chores, Some(&revoked), &KeyRecord { status: KeyStatus::Revoked, version: 2, ..revoked.clone() }).await;
    assert_eq!(chores.tidy().await.unwrap(), Done::default(), "nothing is old enough");

    clock.advance(201 * DAY + 1);
    assert_eq!(
        chores.tidy().await.unwrap(),
        Done { purged: 1, forgotten: 5, ..Done::default() },
        "401 days: what had expired goes, and the first events"
    );
    assert_eq!(there(&chores).await, ["key_1", "key_3", "key_4"]);
    assert_eq!(events(&chores).await[0], ("sidegate".to_owned(), "key.purge".to_owned()));

    clock.advance(200 * DAY);
    assert_eq!(chores.tidy().await.unwrap(), Done { purged: 1, forgotten: 1, ..Done::default() }, "what was revoked 400 days ago");
    assert_eq!(there(&chores).await, ["key_1", "key_4"], "what may be used, or switched on again, stays for ever");
    assert_eq!(chores.tidy().await.unwrap(), Done::default());
    assert!(chores.store.find_key_by_digest(&crate::store::contract::digest_of("s3")).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_over_goes_after_its_time_and_is_audited_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    a_life(embedded(&dir)).await;
}

#[tokio::test]
async fn what_is_over_goes_after_its_time_and_is_audited_in_redis() {
    let server = RedisServer::start();
    a_life(server.config().url).await;
}

async fn one_at_a_time(url: String) {
    let clock = Clock::manual(START);
    let (one, other) = (chores(url.clone(), &clock).await, chores(url, &clock).await);
    let ended = KeyRecord { expires_at: Some(START), ..key("key_1", "acme", "s1") };
    put(&one, None, &ended).await;
    clock.advance(500 * DAY);
    let wait = one.turn().await.unwrap();
    assert!(there(&one).await.is_empty());
    assert!(wait > Duration::from_millis(PERIOD_MS / 2), "{wait:?}");
    put(&one, None, &ended).await;
    assert!(other.turn().await.unwrap() > Duration::from_millis(PERIOD_MS / 2));
    assert_eq!(there(&one).await, ["key_1"], "the other has left it alone");
}

#[tokio::test]
async fn one_sidecar_does_it_at_a_time_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    one_at_a_time(embedded(&dir)).await;
}

#[tokio::test]
async fn one_sidecar_does_it_at_a_time_in_redis() {
    let server = RedisServer::start();
    one_at_a_time(server.config().url).await;
}

#[tokio::test]
async fn zero_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let chores = Chores { purge_after: None, retention: None, ..chores(embedded(&dir), &clock).await };
    put(&chores, None, &KeyRecord { expires_at: Some(START), ..key("key_1", "acme", "s1") }).await;
    clock.advance(5000 * DAY);
    assert_eq!(chores.tidy().await.unwrap(), Done::default());
}

#[tokio::test]
async fn a_serving_process_does_it_by_and_by() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let (running, looking) = (chores(embedded(&dir), &clock).await, chores(embedded(&dir), &clock).await);
    put(&looking, None, &KeyRecord { expires_at: Some(START), ..key("key_1", "acme", "s1") }).await;
    clock.advance(500 * DAY);
    // Hours pass while nothing else is to be done.
    tokio::time::pause();
    let gone = async {
        while !there(&looking).await.is_empty() {
            sleep(SOON).await;
        }
    };
    tokio::select! {
        never = running.run() => match never {},
        () = gone => {}
    }
}
