//! What one table exports another imports, and nothing is lost or opened by it.

use std::sync::Arc;

use proptest::prelude::*;
use secrecy::SecretSlice;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::config::problem::Problems;
use crate::config::sections;
use crate::key::digest::{Digest, StoredDigest};
use crate::key::import::{Input, OnConflict, Options, Origin, Report};
use crate::key::record::PreviousSecret;
use crate::key::rules::Rules;
use crate::store::contract::{bare, bare_all, key};
use crate::store::open;
use crate::store::redis_server::RedisServer;

const NOW: Timestamp = Timestamp(1_750_000_000_000);

async fn table(section: &sections::Store, pepper: &str) -> Lifecycle {
    let clock = Clock::manual(NOW);
    let store = open(section, &clock).await.unwrap().store;
    let rules = Arc::new(Rules::compile(&sections::Config::default(), &mut Problems::default()).unwrap());
    Lifecycle::new(
        store,
        rules,
        Peppers::from_lines(&SecretSlice::from(pepper.as_bytes().to_vec())),
        clock,
        crate::audit::Actor::local("test"),
    )
}

async fn embedded(dir: &TempDir, name: &str, pepper: &str) -> Lifecycle {
    let url = format!("embedded:{}", dir.path().join(name).display());
    table(&sections::Store { url, ..sections::Store::default() }, pepper).await
}

async fn exported(lifecycle: &Lifecycle, tenant: Option<&str>, form: Form) -> String {
    let mut out = Vec::new();
    lifecycle.export(tenant, form, &mut out, |_| {}).await.unwrap();
    String::from_utf8(out).unwrap()
}

async fn import(lifecycle: &Lifecycle, text: &str) -> Report {
    let options = Options {
        create_tenants: true,
        on_conflict: OnConflict::Fail,
        resume: false,
        dry_run: false,
        origin: Origin::Sidegate,
        tenant: None,
        rejects: None,
        kinds: &[],
    };
    lifecycle.import(Input::of("stdin", std::io::Cursor::new(text.as_bytes().to_vec())), &options, &mut |_| {}).await.unwrap()
}

/// Keys in every state, as the default kinds allow them.
fn keys() -> Vec<KeyRecord> {
    let plain = |number: u32| KeyRecord {
        created_at: Timestamp(1_700_000_000_000 + i64::from(number)),
        ..key(&format!("key_{number}"), if number.is_multiple_of(2) { "acme" } else { "globex" }, &format!("s{number}"))
    };
    vec![
        plain(1),
        KeyRecord { status: KeyStatus::Revoked, scopes: Vec::new(), last4: String::new(), ..plain(2) },
        KeyRecord { status: KeyStatus::Inactive, expires_at: Some(Timestamp(1_600_000_000_123)), exposed: true, ..plain(3) },
        KeyRecord {
            name: "a, \"b\" ; ü".into(),
            ip_allowlist: Some(Vec::new()),
            referrers: Some(Vec::new()),
            endpoints: Some(Vec::new()),
            ..plain(4)
        },
        KeyRecord {
            ip_allowlist: Some(vec!["10.0.0.0/8".into(), "2001:db8::/32".into()]),
            referrers: Some(vec!["https://*.shop.example".into()]),
            endpoints: Some(vec!["GET /v1/a".into(), "POST /v1/b/{id}".into()]),
            rate_limit: Some(serde_json::json!({ "requests": 5, "per": "1s" })),
            metadata: [("plan".into(), "gold".into()), ("no".into(), "a b".into())].into(),
            rotated_at: Some(Timestamp(1_710_000_000_000)),
            last_used: Some(Timestamp(1_720_000_000_000)),
            last_used_from: Some("192.0.2.1".into()),
            environment: EnvironmentName::Test,
            prefix: "sk_test_".into(),
            ..plain(5)
        },
    ]
}

async fn fill(lifecycle: &Lifecycle, keys: &[KeyRecord]) {
    for tenant in ["acme", "globex"] {
        lifecycle.store.put_tenant(bare(&crate::store::contract::tenant(tenant))).await.unwrap();
    }
    let written = lifecycle.store.put_new_keys(&bare_all(&keys.iter().collect::<Vec<_>>())).await.unwrap();
    assert!(written.iter().all(Result::is_ok));
}

async fn round_trip(from: &Lifecycle, to: &Lifecycle, form: Form) {
    fill(from, &keys()).await;
    let text = exported(from, None, form).await;
    let report = import(to, &text).await;
    assert_eq!((report.imported, report.refused, report.tenants_created), (5, 0, 2), "{form:?} {report:?}\n{text}");
    assert_eq!(to.list_keys(None).await.unwrap().keys, keys());
    assert_eq!(exported(to, None, form).await, text);
}

#[tokio::test]
async fn every_key_of_a_table_arrives_in_another_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for form in [Form::Ndjson, Form::Csv] {
        let (one, other) = (RedisServer::start(), RedisServer::start());
        round_trip(&embedded(&dir, &format!("a{form:?}"), "").await, &table(&one.config(), "").await, form).await;
        round_trip(&table(&other.config(), "").await, &embedded(&dir, &format!("b{form:?}"), "").await, form).await;
    }
}

#[tokio::test]
async fn under_a_pepper_digests_arrive_only_where_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let from = embedded(&dir, "from", "pepper").await;
    let stored = from.peppers.store(&Digest::of(b"sk_live_x")).to_hex();
    fill(&from, &[KeyRecord { digest: stored.clone(), ..key("key_1", "acme", "") }]).await;
    let text = exported(&from, None, Form::Ndjson).await;
    assert!(text.contains(&format!("\"hmac-sha256:{stored}\"")), "{text}");
    let same = embedded(&dir, "same", "pepper").await;
    assert_eq!(import(&same, &text).await.imported, 1);
    assert_eq!(same.find_by_secret(&"sk_live_x".into()).await.unwrap().unwrap().id, "key_1");
    let report = import(&embedded(&dir, "none", "").await, &text).await;
    assert!(report.refused == 1 && report.errors[0].message.contains("pepper_file"), "{report:?}");
}

#[tokio::test]
async fn one_tenants_keys_are_exported_page_by_page_without_the_secrets_before() {
    let dir = tempfile::tempdir().unwrap();
    let lifecycle = embedded(&dir, "keys", "").await;
    let previous = PreviousSecret { digest: StoredDigest(Digest::of(b"old").0).to_hex(), until: NOW.plus_millis(1) };
    let many: Vec<KeyRecord> = (0..1200)
        .map(|n| KeyRecord { previous: (n == 7).then(|| previous.clone()), ..key(&format!("key_{n:04}"), "acme", &format!("s{n}")) })
        .collect();
    fill(&lifecycle, &many).await;
    let mut seen = Vec::new();
    let mut out = Vec::new();
    assert_eq!(lifecycle.export(Some("acme"), Form::Ndjson, &mut out, |written| seen.push(written)).await.unwrap().written, 1200);
    assert_eq!(seen.last(), Some(&1200));
    assert!(seen.len() > 2, "{seen:?}");
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().count() == 1200 && !text.contains(&previous.digest));
    assert!(exported(&lifecycle, Some("globex"), Form::Ndjson).await.is_empty());
    assert!(matches!(
        lifecycle.export(Some("nobody"), Form::Csv, &mut Vec::new(), |_| {}).await,
        Err(ExportError::Lifecycle(LifecycleError::NoTenant(_)))
    ));
}

#[tokio::test]
async fn records_that_cannot_be_read_are_counted_and_leftovers_are_not() {
    let server = RedisServer::start();
    let lifecycle = table(&server.config(), "").await;
    fill(&lifecycle, &keys()).await;
    let mut raw = server.raw();
    let _: () = redis::Commands::set(&mut raw, "sidegate:key:{key_3}", "{").unwrap();
    let _: () = redis::Commands::zadd(&mut raw, "sidegate:keys", "0000000000000001:key_killed", 0).unwrap();
    let mut out = Vec::new();
    let exported = lifecycle.export(None, Form::Ndjson, &mut out, |_| {}).await.unwrap();
    assert_eq!((exported.written, exported.unreadable), (4, 1));
    assert!(matches!(&exported.first, Some(StoreError::Corrupt { id, .. }) if id == "key_3"), "{exported:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn no_name_or_metadata_is_changed_by_a_round_trip(names in proptest::collection::vec("[!-~ ü\"',;]{0,20}[!-~]", 1..5), form in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (embedded(&dir, "from", "").await, embedded(&dir, "to", "").await);
            let records: Vec<KeyRecord> = (0..).zip(&names).map(|(number, name)| {
                let word: String = name.chars().filter(|char| char.is_ascii_graphic() && !",;\"\\".contains(*char)).collect();
                let metadata = if word.is_empty() { BTreeMap::new() } else { [("m".to_owned(), word)].into() };
                KeyRecord { name: name.trim().into(), metadata, ..key(&format!("key_{number}"), "acme", &format!("s{number}")) }
            }).collect();
            fill(&from, &records).await;
            let text = exported(&from, None, if form { Form::Ndjson } else { Form::Csv }).await;
            let report = import(&to, &text).await;
            assert_eq!(report.refused, 0, "{report:?}\n{text}");
            assert_eq!(to.list_keys(None).await.unwrap().keys, records);
        });
    }
}

#[tokio::test]
async fn tenants_that_an_import_would_widen_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let lifecycle = embedded(&dir, "keys", "").await;
    fill(&lifecycle, &keys()).await;
    lifecycle.set_tenant_status("acme", TenantStatus::Suspended).await.unwrap();
    let limited = TenantRecord { scopes: Some(Vec::new()), ..crate::store::contract::tenant("without-keys") };
    lifecycle.store.put_tenant(bare(&limited)).await.unwrap();
    assert_eq!(lifecycle.export(None, Form::Csv, &mut Vec::new(), |_| {}).await.unwrap().widened, ["acme"]);
    assert!(lifecycle.export(Some("globex"), Form::Csv, &mut Vec::new(), |_| {}).await.unwrap().widened.is_empty());
}
