//! Keys through their life, on a real store, found as the gate finds them: by what is stored for their secret.

mod many;

use std::time::Duration;

use super::*;
use crate::audit::{Object, Query};
use crate::config::problem::Problems;
use crate::config::sections;
use crate::session::lifecycle::SessionLifecycle;
use crate::store::contract::bare;
use crate::store::{Opened, open};
use crate::tenant::TenantStatus;
use crate::tenant::lifecycle::NewTenant;

const START: Timestamp = Timestamp(1_700_000_000_000);

struct Bench {
    lifecycle: Lifecycle,
    sessions: SessionLifecycle,
    clock: Clock,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}/keys", dir.path().display());
        Self { dir, ..Self::on(&url, toml).await }
    }

    async fn on(url: &str, toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config: sections::Config = toml::from_str(toml).unwrap();
        let section = sections::Store { url: url.to_owned(), ..sections::Store::default() };
        let clock = Clock::manual(START);
        let Opened { store, sessions, .. } = open(&section, &clock).await.unwrap();
        let rules = Arc::new(Rules::compile(&config, &mut Problems::default()).unwrap());
        let peppers = Peppers::from_lines(&secrecy::SecretSlice::from(b"pepper".to_vec()));
        let lifecycle = Lifecycle::new(store, rules, peppers, clock.clone(), crate::audit::Actor::local("test"));
        lifecycle.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await.unwrap();
        let sessions = SessionLifecycle::new(lifecycle.clone(), sessions);
        Self { lifecycle, sessions, clock, dir }
    }

    async fn create(&self) -> Issued {
        self.lifecycle.create(new_key()).await.unwrap()
    }

    /// What is there is no record any more.
    fn spoil(&self, id: &str) {
        let raw = rusqlite::Connection::open(self.dir.path().join("keys")).unwrap();
        assert_eq!(raw.execute("UPDATE keys SET record = '{' WHERE id = ?1", [id]).unwrap(), 1);
    }

    async fn opens(&self, key: &SecretString) -> bool {
        self.lifecycle.find_by_secret(key).await.unwrap().is_some()
    }
}

fn new_key() -> NewKey {
    NewKey {
        tenant: "acme".into(),
        name: "ci".into(),
        environment: EnvironmentName::Live,
        kind: "secret".into(),
        scopes: vec!["read:*".into()],
        ip_allowlist: None,
        referrers: None,
        endpoints: None,
        rate_limit: None,
        expires: None,
        metadata: BTreeMap::new(),
    }
}

#[tokio::test]
async fn a_new_key_is_of_the_native_format_and_opens_its_record() {
    let bench = Bench::new("").await;
    let Issued { record, key, .. } = bench.create().await;
    assert!(super::super::format::is_native(key.expose_secret().as_bytes(), "sk_live_".len()));
    assert!(record.id.starts_with("key_") && record.id.len() == 24);
    assert_eq!((record.prefix.as_str(), record.version, record.created_by.as_str()), ("sk_live_", 1, "test"));
    assert!(key.expose_secret().ends_with(&record.last4));
    assert_eq!(bench.lifecycle.find_by_secret(&key).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_rotation_keeps_everything_but_the_secret() {
    let bench = Bench::new("").await;
    let old = bench.create().await;
    bench.clock.advance(5_000);
    let new = bench.lifecycle.rotate(&old.record.id, None).await.unwrap();
    assert_eq!((&new.record.id, &new.record.name, &new.record.scopes), (&old.record.id, &old.record.name, &old.record.scopes));
    assert_eq!(new.record.rotated_at, Some(START.plus_millis(5_000)));
    assert!(!bench.opens(&old.key).await && bench.opens(&new.key).await);
}

#[tokio::test]
async fn an_overlap_keeps_the_old_secret_until_it_is_cut() {
    let bench = Bench::new("[keys]\nrotate_overlap = \"1h\"").await;
    let old = bench.create().await;
    let new = bench.lifecycle.rotate(&old.record.id, None).await.unwrap();
    assert_eq!(new.record.previous.as_ref().map(|previous| previous.until), Some(START.plus_millis(3_600_000)));
    assert!(bench.opens(&old.key).await && bench.opens(&new.key).await);
    bench.lifecycle.end_overlap(&old.record.id).await.unwrap();
    let again = bench.lifecycle.end_overlap(&old.record.id).await.unwrap();
    assert_eq!(again.version, 3);
    assert!(!bench.opens(&old.key).await && bench.opens(&new.key).await);
}

#[tokio::test]
async fn a_second_rotation_says_which_overlap_it_ends() {
    let bench = Bench::new("[keys]\nrotate_overlap = \"1h\"").await;
    let first = bench.create().await;
    let second = bench.lifecycle.rotate(&first.record.id, None).await.unwrap();
    assert_eq!(second.ended, None);
    bench.clock.advance(1_000);
    let third = bench.lifecycle.rotate(&first.record.id, None).await.unwrap();
    assert_eq!(third.ended, Some(START.plus_millis(3_600_000)));
    assert!(!bench.opens(&first.key).await);
    assert!(bench.lifecycle.is_previous(&third.record, &second.key) && !bench.lifecycle.is_previous(&third.record, &third.key));
    // One that has run out by itself is not ended by a rotation.
    bench.clock.advance(3_600_000);
    assert_eq!(bench.lifecycle.rotate(&first.record.id, None).await.unwrap().ended, None);
}

#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let bench = Bench::new("").await;
    let Issued { record, key, .. } = bench.create().await;
    for status in [KeyStatus::Inactive, KeyStatus::Active, KeyStatus::Revoked, KeyStatus::Revoked] {
        assert_eq!(bench.lifecycle.set_status(&record.id, status).await.unwrap().status, status);
    }
    for status in [KeyStatus::Inactive, KeyStatus::Active] {
        assert!(matches!(bench.lifecycle.set_status(&record.id, status).await, Err(LifecycleError::State(_))));
    }
    assert!(matches!(bench.lifecycle.rotate(&record.id, None).await, Err(LifecycleError::State(_))));
    let found = bench.lifecycle.find_by_secret(&key).await.unwrap().unwrap();
    assert_eq!((found.status, found.version), (KeyStatus::Revoked, 4));
}

#[tokio::test]
async fn changes_side_by_side_all_happen() {
    let bench = Bench::new("").await;
    let id = bench.create().await.record.id;
    let changes = [KeyStatus::Inactive, KeyStatus::Revoked].map(|status| {
        let (lifecycle, id) = (bench.lifecycle.clone(), id.clone());
        tokio::spawn(async move { lifecycle.set_status(&id, status).await })
    });
    for change in changes {
        // The revocation may come first: then the other is refused.
        assert!(matches!(change.await.unwrap(), Ok(_) | Err(LifecycleError::State(_))));
    }
    assert_eq!(bench.lifecycle.find_key(&id).await.unwrap().status, KeyStatus::Revoked);
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_every_reason() {
    let bench = Bench::new("").await;
    let wrong = NewKey { kind: "private".into(), expires: Some("soon".into()), ..new_key() };
    assert!(matches!(bench.lifecycle.create(wrong).await, Err(LifecycleError::Invalid(why)) if why.len() == 2));
    let wrong = NewKey { name: String::new(), scopes: vec!["a b".into()], ..new_key() };
    assert!(matches!(bench.lifecycle.create(wrong).await, Err(LifecycleError::Invalid(why)) if why.len() == 2));
    let wrong = NewKey { tenant: "nobody".into(), ..new_key() };
    assert!(matches!(bench.lifecycle.create(wrong).await, Err(LifecycleError::NoTenant(_))));
    assert!(matches!(bench.lifecycle.find_key("key_none").await, Err(LifecycleError::NoKey(_))));
    assert!(bench.lifecycle.list_keys(None).await.unwrap().keys.is_empty());
}

#[tokio::test]
async fn a_tenant_has_so_many_keys_and_revoked_ones_do_not_count() {
    let bench = Bench::new("[keys]\nmax_per_tenant = 2").await;
    let first = bench.create().await.record.id;
    bench.create().await;
    assert!(matches!(bench.lifecycle.create(new_key()).await, Err(LifecycleError::Limit { limit: 2, .. })));
    bench.lifecycle.set_status(&first, KeyStatus::Revoked).await.unwrap();
    bench.create().await;
}

#[tokio::test]
async fn tenants_are_suspended_and_resumed() {
    let bench = Bench::new("").await;
    for status in [TenantStatus::Suspended, TenantStatus::Suspended, TenantStatus::Active] {
        assert_eq!(bench.lifecycle.set_tenant_status("acme", status).await.unwrap().status, status);
    }
    assert_eq!(bench.lifecycle.find_tenant("acme").await.unwrap().version, 3);
    let again = bench.lifecycle.create_tenant(NewTenant { id: "acme".into(), ..NewTenant::default() }).await;
    assert!(matches!(again, Err(LifecycleError::State(_))));
    let wrong = NewTenant { id: "a/b".into(), ip_allowlist: Some(vec!["x".into()]), ..NewTenant::default() };
    assert!(matches!(bench.lifecycle.create_tenant(wrong).await, Err(LifecycleError::Invalid(why)) if why.len() == 2));
}

#[tokio::test]
async fn the_plaintext_is_in_no_file_and_no_debug_output() {
    let bench = Bench::new("").await;
    let first = bench.create().await;
    let second = bench.lifecycle.rotate(&first.record.id, Some(Duration::from_mins(1))).await.unwrap();
    let debug = format!("{first:?} {second:?}");
    for key in [&first.key, &second.key] {
        let secret = key.expose_secret();
        let random = secret.strip_prefix("sk_live_").unwrap();
        assert!(!debug.contains(random));
        for entry in std::fs::read_dir(bench.dir.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let plain_digest = StoredDigest(Digest::of(secret.as_bytes()).0);
            for needle in [random.as_bytes(), plain_digest.to_hex().as_bytes(), &plain_digest.0[..]] {
                assert!(!bytes.windows(needle.len()).any(|window| window == needle));
            }
        }
    }
}

#[tokio::test]
async fn an_overlap_beyond_all_years_is_refused_and_changes_nothing() {
    let bench = Bench::new("").await;
    let Issued { record, key, .. } = bench.create().await;
    let wrong = bench.lifecycle.rotate(&record.id, Some(Duration::from_hours(3_000_000 * 24))).await;
    assert!(matches!(&wrong, Err(LifecycleError::Invalid(why)) if why[0].why.contains("too long")), "{wrong:?}");
    assert_eq!(bench.lifecycle.find_by_secret(&key).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_change_that_a_failover_lost_is_no_success() {
    let server = crate::store::redis_server::RedisServer::start();
    let section = sections::Store { write_replicas: 1, ..server.config() };
    let Opened { store, .. } = open(&section, &Clock::System).await.unwrap();
    let rules = Arc::new(Rules::compile(&sections::Config::default(), &mut Problems::default()).unwrap());
    let lifecycle = Lifecycle::new(store, rules, Peppers::default(), Clock::System, crate::audit::Actor::local("test"));
    let record = crate::store::contract::key("key_1", "acme", "s1");
    lifecycle.store.put_key(bare(&record)).await.unwrap();
    let revoked = KeyRecord { version: 2, status: KeyStatus::Revoked, ..record };
    let lost = lifecycle.replicate(Written::Key(&revoked)).await.unwrap_err();
    assert!(matches!(lost, LifecycleError::Lost) && lost.to_string().contains("repeat the command"), "{lost}");
    assert_eq!(lifecycle.unreplicated(), None);
}

#[tokio::test]
async fn an_update_is_of_the_version_that_was_seen_and_nothing_is_no_change() {
    let bench = Bench::new("").await;
    let id = bench.create().await.record.id;
    let rename = |name: &'static str| {
        move |record: &mut KeyRecord| {
            record.name = name.into();
            Ok(())
        }
    };
    let record = bench.lifecycle.update(&id, Some(1), rename("other")).await.unwrap();
    assert_eq!((record.version, record.name.as_str()), (2, "other"));
    assert_eq!(bench.lifecycle.update(&id, Some(2), rename("other")).await.unwrap().version, 2);
    let late = bench.lifecycle.update(&id, Some(1), rename("late")).await;
    assert!(matches!(late, Err(LifecycleError::Version { found: 2, .. })), "{late:?}");
    assert!(matches!(bench.lifecycle.update(&id, None, rename("\u{7}")).await, Err(LifecycleError::Invalid(_))));
    bench.lifecycle.set_status(&id, KeyStatus::Revoked).await.unwrap();
    assert!(matches!(bench.lifecycle.update(&id, None, rename("new")).await, Err(LifecycleError::State(_))));
}

#[tokio::test]
async fn every_change_is_audited_in_the_name_of_who_makes_it() {
    let bench = Bench::new("").await;
    let id = bench.create().await.record.id;
    let actor = Actor { name: "admin:console".into(), from: Some("192.0.2.7".into()), request_id: Some("request-1".into()) };
    let other = bench.lifecycle.on_behalf_of(actor);
    other.rotate(&id, Some(Duration::from_mins(1))).await.unwrap();
    other.end_overlap(&id).await.unwrap();
    other.set_status(&id, KeyStatus::Revoked).await.unwrap();
    other.set_status(&id, KeyStatus::Revoked).await.unwrap();
    other.purge(&id).await.unwrap();
    let query = Query { of: Some((Object::Key, &id)), oldest_first: true, limit: 10, ..Query::default() };
    let events = bench.lifecycle.store.list_events(&query).await.unwrap().items;
    let told: Vec<_> = events.iter().map(|event| (event.action.as_str(), event.actor.as_str(), event.version)).collect();
    let by = "admin:console";
    let expected =
        [("key.create", "test", 1), ("key.rotate", by, 2), ("key.end_overlap", by, 3), ("key.revoke", by, 4), ("key.purge", by, 5)];
    assert_eq!(told, expected);
    assert!(events[1..].iter().all(|event| event.from.as_deref() == Some("192.0.2.7")));
}

#[tokio::test]
async fn a_tenant_goes_only_when_nobody_can_use_it_any_more() {
    let bench = Bench::new("").await;
    let id = bench.create().await.record.id;
    let lifecycle = &bench.lifecycle;
    assert!(matches!(lifecycle.purge(&id).await, Err(LifecycleError::State(_))));
    assert!(matches!(bench.sessions.delete_tenant("acme").await, Err(LifecycleError::State(_))));
    lifecycle.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    assert!(matches!(bench.sessions.delete_tenant("acme").await, Err(LifecycleError::State(_))));
    lifecycle.set_status(&id, KeyStatus::Revoked).await.unwrap();
    bench.sessions.delete_tenant("acme").await.unwrap();
    assert!(matches!(lifecycle.find_tenant("acme").await, Err(LifecycleError::NoTenant(_))));
    assert!(matches!(lifecycle.find_key(&id).await, Err(LifecycleError::NoKey(_))));
    let query = Query { tenant: Some("acme"), limit: 10, ..Query::default() };
    let events = lifecycle.store.list_events(&query).await.unwrap().items;
    assert_eq!(events.first().map(|event| event.action.as_str()), Some("tenant.delete"));
}
