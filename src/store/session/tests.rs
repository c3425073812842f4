//! What every store must do with sessions: one suite, run against each.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::audit::{Action, Actor, Object, Query};
use crate::clock::Clock;
use crate::config::sections;
use crate::config::units::Span;
use crate::store::redis_server::RedisServer;
use crate::store::redis_server::cluster::RedisCluster;
use crate::store::{Opened, Written, open};
use fixture::session;

/// A machine may be busy.
const PATIENT: Span = Span::secs(30);
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const WEEK_MS: i64 = 7 * 86_400_000;

fn write(record: &SessionRecord) -> SessionWrite<'_> {
    SessionWrite { record, event: None, at: NOW, until: NOW.plus_millis(WEEK_MS) }
}

fn later(record: &SessionRecord) -> SessionRecord {
    SessionRecord { version: record.version + 1, digest: "11".repeat(32), ..record.clone() }
}

async fn ids(store: &Opened, query: SessionQuery<'_>) -> Vec<String> {
    let page = store.sessions.list_sessions(&SessionQuery { limit: 100, ..query }).await.unwrap();
    assert!(page.unreadable.is_empty() && page.next.is_none());
    page.items.into_iter().map(|record| record.id).collect()
}

async fn a_session_is_found_as_it_was_written(store: Opened) {
    let mut record = session("ses_1", "acme", "ada");
    record.unknown.insert("later".into(), json!({ "a": 1 }));
    assert!(store.sessions.find_session("ses_1").await.unwrap().is_none());
    store.sessions.put_session(write(&record)).await.unwrap();
    assert_eq!(store.sessions.find_session("ses_1").await.unwrap(), Some(record));
}

async fn a_taken_id_and_a_stale_version_conflict(store: Opened) {
    let first = session("ses_1", "acme", "ada");
    let conflict = async |record: &SessionRecord| match store.sessions.put_session(write(record)).await {
        Err(StoreError::Conflict { found }) => Some(found),
        _ => None,
    };
    assert_eq!(conflict(&later(&first)).await, Some(0));
    store.sessions.put_session(write(&first)).await.unwrap();
    assert_eq!(conflict(&first).await, Some(1));
    let second = later(&first);
    store.sessions.put_session(write(&second)).await.unwrap();
    assert_eq!(conflict(&second).await, Some(2));
    assert_eq!(store.sessions.find_session("ses_1").await.unwrap(), Some(second));
}

async fn of_many_writers_of_one_version_one_wins(store: Opened) {
    let first = session("ses_1", "acme", "ada");
    store.sessions.put_session(write(&first)).await.unwrap();
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let (sessions, record) = (Arc::clone(&store.sessions), SessionRecord { family: writer.to_string(), ..later(&first) });
            tokio::spawn(async move { sessions.put_session(write(&record)).await.is_ok().then_some(record) })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        won.extend(writer.await.unwrap());
    }
    assert_eq!(won.len(), 1);
    assert_eq!(store.sessions.find_session("ses_1").await.unwrap(), won.pop());
}

async fn an_event_is_written_with_its_session_or_not_at_all(store: Opened) {
    let first = session("ses_1", "acme", "ada");
    let about = |version| {
        let object = (Object::Session, "ses_1", "acme");
        Event::about(&Actor::local("test"), Action::Revoke, NOW, object, version)
    };
    store.sessions.put_session(write(&first)).await.unwrap();
    let told = about(2);
    let second = later(&first);
    store.sessions.put_session(SessionWrite { event: Some(told.clone()), ..write(&second) }).await.unwrap();
    let refused = store.sessions.put_session(SessionWrite { event: Some(about(3)), ..write(&second) }).await;
    assert!(refused.is_err());
    let query = Query { limit: 10, ..Query::default() };
    assert_eq!(store.store.list_events(&query).await.unwrap().items, [told.clone()]);
    let of = Query { of: Some((Object::Session, "ses_1")), tenant: Some("acme"), ..query };
    assert_eq!(store.store.list_events(&of).await.unwrap().items, [told]);
}

async fn lists_are_by_tenant_and_by_subject_page_by_page(store: Opened) {
    for (number, (tenant, subject)) in [("acme", "ada"), ("acme", "bob"), ("globex", "ada"), ("acme", "ada")].into_iter().enumerate() {
        let mut record = session(&format!("ses_{number}"), tenant, subject);
        record.created_at = NOW.plus_millis(i64::try_from(number).unwrap());
        store.sessions.put_session(write(&record)).await.unwrap();
        // A change keeps its place.
        store.sessions.put_session(write(&later(&record))).await.unwrap();
    }
    let all = SessionQuery::default();
    assert_eq!(ids(&store, all).await, ["ses_0", "ses_1", "ses_2", "ses_3"]);
    assert_eq!(ids(&store, SessionQuery { tenant: Some("acme"), ..all }).await, ["ses_0", "ses_1", "ses_3"]);
    assert_eq!(ids(&store, SessionQuery { subject: Some("ada"), ..all }).await, ["ses_0", "ses_2", "ses_3"]);
    assert_eq!(ids(&store, SessionQuery { tenant: Some("acme"), subject: Some("ada"), ..all }).await, ["ses_0", "ses_3"]);
    assert!(ids(&store, SessionQuery { tenant: Some("other"), ..all }).await.is_empty());
    let page = store.sessions.list_sessions(&SessionQuery { limit: 3, ..all }).await.unwrap();
    let rest = SessionQuery { cursor: page.next.as_deref(), ..all };
    assert_eq!((page.items.len(), ids(&store, rest).await), (3, vec!["ses_3".to_owned()]));
}

async fn what_is_over_leaves_the_lists_when_others_begin(store: Opened) {
    let old = session("ses_0", "acme", "ada");
    // Over before it began, as a clock that jumps may have it.
    store.sessions.put_session(SessionWrite { until: NOW.plus_millis(-2 * WEEK_MS), ..write(&old) }).await.unwrap();
    let mut new = session("ses_1", "acme", "bob");
    new.created_at = NOW.plus_millis(1);
    store.sessions.put_session(write(&new)).await.unwrap();
    assert_eq!(ids(&store, SessionQuery::default()).await, ["ses_1"]);
    assert!(ids(&store, SessionQuery { subject: Some("ada"), ..SessionQuery::default() }).await.is_empty());
}

async fn replicas_are_waited_for_as_for_any_record(store: Opened) {
    let record = session("ses_1", "acme", "ada");
    store.sessions.put_session(write(&record)).await.unwrap();
    assert!(store.store.await_replicas(Written::Session(&record)).await.unwrap().is_complete());
}

#[tokio::test]
async fn in_redis_a_session_ends_by_itself_and_leaves_nothing_but_places() {
    let server = RedisServer::start();
    let store = open(&server.config(), &Clock::System).await.unwrap();
    let record = session("ses_1", "acme", "ada");
    store.sessions.put_session(write(&record)).await.unwrap();
    let mut raw = server.raw();
    let name = format!("{}session:{{ses_1}}", server.config().key_prefix);
    let left: i64 = redis::cmd("PTTL").arg(&name).query(&mut raw).unwrap();
    assert!(left > WEEK_MS - i64::try_from(Duration::from_secs(60).as_millis()).unwrap() && left <= WEEK_MS, "{left}");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).unwrap();
    assert!(keys.iter().all(|key| key.contains("session")), "{keys:?}");
}

macro_rules! against_every_store {
    ($($case:ident)+) => {
        mod embedded_store {
            $(#[tokio::test]
            async fn $case() {
                let dir = tempfile::tempdir().unwrap();
                let url = format!("embedded:{}", dir.path().join("keys").display());
                let section = super::sections::Store { url, ..Default::default() };
                super::$case(super::open(&section, &super::Clock::System).await.unwrap()).await;
            })+
        }
        mod redis_server {
            $(#[tokio::test]
            async fn $case() {
                let server = super::RedisServer::start();
                let config = super::sections::Store { command_timeout: super::PATIENT, ..server.config() };
                super::$case(super::open(&config, &super::Clock::System).await.unwrap()).await;
            })+
        }
        mod redis_cluster {
            $(#[tokio::test]
            async fn $case() {
                let config = super::RedisCluster::shared().config();
                let key_prefix = concat!("session ", stringify!($case), ":").into();
                let config = super::sections::Store { key_prefix, command_timeout: super::PATIENT, ..config };
                super::$case(super::open(&config, &super::Clock::System).await.unwrap()).await;
            })+
        }
    };
}

against_every_store! {
    a_session_is_found_as_it_was_written
    a_taken_id_and_a_stale_version_conflict
    of_many_writers_of_one_version_one_wins
    an_event_is_written_with_its_session_or_not_at_all
    lists_are_by_tenant_and_by_subject_page_by_page
    what_is_over_leaves_the_lists_when_others_begin
    replicas_are_waited_for_as_for_any_record
}
