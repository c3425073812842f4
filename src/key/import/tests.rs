//! Import files, good and bad, into a real store.

use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::config::problem::Problems;
use crate::config::sections;
use crate::key::digest::{Digest, Peppers, StoredDigest};
use crate::key::rules::Rules;
use crate::store::{Opened, open};

const OPTIONAL: &str =
    "[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"sk_live_\", test = \"sk_test_\" }\nchecksum = \"optional\"\n";
const NATIVE: &str = "";

async fn bench(toml: &str) -> (Lifecycle, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config: sections::Config = toml::from_str(toml).unwrap();
    let section = sections::Store { url: format!("embedded:{}/keys", dir.path().display()), ..sections::Store::default() };
    let clock = Clock::manual(Timestamp(1_700_000_000_000));
    let Opened { store, .. } = open(&section, &clock).await.unwrap();
    let rules = Arc::new(Rules::compile(&config, &mut Problems::default()).unwrap());
    (Lifecycle::new(store, rules, Peppers::default(), clock, "test"), dir)
}

const WRITE: Options = Options { create_tenants: true, on_conflict: OnConflict::Fail, dry_run: false };

fn digest(secret: &str) -> String {
    format!("sha256:{}", StoredDigest(Digest::of(secret.as_bytes()).0).to_hex())
}

fn counts(report: &Report) -> (usize, usize, usize, usize) {
    (report.imported, report.updated, report.skipped, report.errors.len())
}

async fn opens(lifecycle: &Lifecycle, secret: &str) -> Option<KeyRecord> {
    lifecycle.find_by_secret(&secret.into()).await.unwrap()
}

#[tokio::test]
async fn a_thousand_digests_are_imported_and_importing_them_again_changes_nothing() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let mut text = String::new();
    for number in 0..1000 {
        let line = serde_json::json!({
            "id": format!("key_{number:04}"), "tenant": format!("tenant-{:04}", number % 50), "name": format!("bench {number}"),
            "environment": "live", "kind": "secret", "scopes": ["read", "write"], "digest": digest(&format!("sk_live_{number}")),
            "prefix": "sk_live_", "last4": "0000",
        });
        writeln!(text, "{line}").unwrap();
    }
    let options = Options { on_conflict: OnConflict::Skip, ..WRITE };
    let rehearsed = lifecycle.import(Form::Ndjson, text.as_bytes(), Options { dry_run: true, ..options }).await.unwrap();
    assert_eq!((counts(&rehearsed), rehearsed.tenants_created), ((1000, 0, 0, 0), 50));
    assert!(lifecycle.list_tenants().await.unwrap().is_empty());
    let first = lifecycle.import(Form::Ndjson, text.as_bytes(), options).await.unwrap();
    assert_eq!((counts(&first), first.tenants_created), ((1000, 0, 0, 0), 50));
    assert_eq!(opens(&lifecycle, "sk_live_7").await.unwrap().tenant, "tenant-0007");
    let again = lifecycle.import(Form::Ndjson, text.as_bytes(), options).await.unwrap();
    assert_eq!((counts(&again), again.tenants_created), ((0, 0, 1000, 0), 0));
}

#[tokio::test]
async fn every_bad_line_is_told_by_its_number_and_the_good_ones_are_imported() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let d = digest("sk_live_x");
    let text = format!(
        concat!(
            "{{\"tenant\":\"acme\",\"key\":\"sk_live_good\"}}\n",
            "\n",
            "not json\n",
            "{{\"tenant\":\"acme\"}}\n",
            "{{\"tenant\":\"acme\",\"key\":\"sk_live_y\",\"ip_allow_list\":[\"10.0.0.0/8\"]}}\n",
            "{{\"tenant\":\"acme\",\"key\":\"zz_live_y\"}}\n",
            "{{\"tenant\":\"acme\",\"key\":\"sk_live_y\",\"environment\":\"test\"}}\n",
            "{{\"tenant\":\"acme\",\"key\":\"sk_live_y\",\"scopes\":[\"a b\"]}}\n",
            "{{\"tenant\":\"acme\",\"digest\":\"md5:00\"}}\n",
            "{{\"tenant\":\"acme\",\"key\":\"sk_live_good\"}}\n",
            "{{\"tenant\":\"acme\",\"key\":7}}\n",
            "{{\"tenant\":\"a/b\",\"key\":\"sk_live_z\"}}\n",
            "{{\"tenant\":\"acme\",\"id\":\"key_1\",\"digest\":\"{}\",\"prefix\":\"sk_live_\"}}\n",
        ),
        d
    );
    let report = lifecycle.import(Form::Ndjson, text.as_bytes(), WRITE).await.unwrap();
    let lines: Vec<u64> = report.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 12]);
    assert_eq!(report.imported, 2);
    assert!(opens(&lifecycle, "sk_live_good").await.is_some() && opens(&lifecycle, "sk_live_x").await.is_some());
    assert!(!format!("{report:?}").contains("sk_live_good"));
}

#[tokio::test]
async fn keys_that_would_be_refused_later_are_refused_now_with_the_line_to_write() {
    let (lifecycle, _dir) = bench(NATIVE).await;
    let native = crate::key::format::generate("sk_live_").unwrap();
    let native = secrecy::ExposeSecret::expose_secret(&native);
    let text = format!(
        "{{\"tenant\":\"acme\",\"key\":\"sk_live_foreign\"}}\n{{\"tenant\":\"acme\",\"digest\":\"{}\",\"prefix\":\"sk_live_\"}}\n{{\"tenant\":\"acme\",\"key\":\"{native}\"}}\n",
        digest("sk_live_foreign")
    );
    let report = lifecycle.import(Form::Ndjson, text.as_bytes(), WRITE).await.unwrap();
    assert_eq!(counts(&report), (1, 0, 0, 2));
    for error in &report.errors {
        assert!(error.message.contains("checksum = \"optional\"") && error.message.contains("\"secret\""), "{}", error.message);
    }
    assert!(opens(&lifecycle, native).await.is_some());
}

#[tokio::test]
async fn a_key_that_is_there_is_kept_updated_or_an_error() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let line = |name: &str| format!("{{\"id\":\"key_1\",\"tenant\":\"acme\",\"name\":\"{name}\",\"key\":\"sk_live_a\"}}");
    let with = |on_conflict| Options { on_conflict, ..WRITE };
    lifecycle.import(Form::Ndjson, line("one").as_bytes(), WRITE).await.unwrap();
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, line("two").as_bytes(), WRITE).await.unwrap()), (0, 0, 0, 1));
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, line("two").as_bytes(), with(OnConflict::Skip)).await.unwrap()), (0, 0, 1, 0));
    assert_eq!(opens(&lifecycle, "sk_live_a").await.unwrap().name, "one");
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, line("two").as_bytes(), with(OnConflict::Update)).await.unwrap()), (0, 1, 0, 0));
    let found = opens(&lifecycle, "sk_live_a").await.unwrap();
    assert_eq!((found.name.as_str(), found.version), ("two", 2));
    // A file is no way to bring a revoked key back, nor to take it to another tenant.
    lifecycle.set_status("key_1", KeyStatus::Revoked).await.unwrap();
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, line("three").as_bytes(), with(OnConflict::Update)).await.unwrap()), (0, 0, 0, 1));
    // A line without an id is the key that has the secret.
    let anonymous = "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}";
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, anonymous.as_bytes(), with(OnConflict::Skip)).await.unwrap()), (0, 0, 1, 0));
    let stolen = "{\"id\":\"key_2\",\"tenant\":\"acme\",\"key\":\"sk_live_a\"}";
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, stolen.as_bytes(), with(OnConflict::Update)).await.unwrap()), (0, 0, 0, 1));
}

#[tokio::test]
async fn csv_says_the_same_in_columns() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let text = "id,tenant,name,key,scopes,ip_allowlist,endpoints,expires_at,meta.plan\n\
        key_1,acme,\"Build, test\",sk_live_a,read:a write:b,10.0.0.0/8,GET /v1/a; POST /v1/b,2030-01-01T00:00:00Z,gold\n\
        key_2,acme,x,sk_test_b,,,,,\n\
        key_3,acme,x,sk_live_c,a;b,,,,\n\
        key_4,acme\n";
    let report = lifecycle.import(Form::of("keys.csv", text.as_bytes()), text.as_bytes(), WRITE).await.unwrap();
    assert_eq!(report.errors.iter().map(|error| error.line).collect::<Vec<_>>(), [4, 5]);
    let first = opens(&lifecycle, "sk_live_a").await.unwrap();
    assert_eq!(first.name, "Build, test");
    assert_eq!(first.scopes, ["read:a", "write:b"]);
    assert_eq!(first.endpoints.unwrap(), ["GET /v1/a", "POST /v1/b"]);
    assert_eq!(first.ip_allowlist.unwrap(), ["10.0.0.0/8"]);
    assert_eq!(first.metadata["plan"], "gold");
    let second = opens(&lifecycle, "sk_test_b").await.unwrap();
    assert_eq!((second.environment, second.ip_allowlist, second.scopes.len()), (sections::EnvironmentName::Test, None, 0));
}

#[tokio::test]
async fn tenants_are_made_only_on_request_and_have_so_many_keys() {
    let (lifecycle, _dir) = bench(&format!("{OPTIONAL}[keys]\nmax_per_tenant = 2\n")).await;
    let text = "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}\n{\"tenant\":\"acme\",\"key\":\"sk_live_b\"}\n{\"tenant\":\"acme\",\"key\":\"sk_live_c\"}\n";
    let without = Options { create_tenants: false, ..WRITE };
    assert_eq!(counts(&lifecycle.import(Form::Ndjson, text.as_bytes(), without).await.unwrap()), (0, 0, 0, 3));
    let report = lifecycle.import(Form::Ndjson, text.as_bytes(), WRITE).await.unwrap();
    assert_eq!(counts(&report), (2, 0, 0, 1));
    assert_eq!(report.errors[0].line, 3);
}

#[tokio::test]
async fn no_tenant_is_made_for_keys_that_are_not_written() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    lifecycle.import(Form::Ndjson, b"{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}", WRITE).await.unwrap();
    let elsewhere = b"{\"tenant\":\"gamma\",\"key\":\"sk_live_a\"}";
    for on_conflict in [OnConflict::Skip, OnConflict::Update, OnConflict::Fail] {
        let report = lifecycle.import(Form::Ndjson, elsewhere, Options { on_conflict, ..WRITE }).await.unwrap();
        assert_eq!((report.tenants_created, report.imported, report.updated), (0, 0, 0), "{on_conflict:?}");
    }
    let unfit = b"{\"tenant\":\"gamma\",\"key\":\"sk_live_b\",\"scopes\":[\"a b\"]}";
    assert_eq!(lifecycle.import(Form::Ndjson, unfit, WRITE).await.unwrap().tenants_created, 0);
    assert_eq!(lifecycle.list_tenants().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_a_line_is_said_in_words_of_the_file() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    for (name, text, said) in [
        ("keys.ndjson", "hello\n", "not a JSON object"),
        ("keys.ndjson", "{\"tenant\":nope}\n", "not JSON (column"),
        ("keys.json", "[{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}]", "a JSON array"),
        ("stdin", "[\n{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}\n]\n", "a JSON array"),
        ("keys.csv", "tenant,key,name\nacme,sk_live_a\n", "2 fields, the header has 3"),
        ("keys.csv", "tenant,key,scopes\nacme,sk_live_a,\"read:a,write:a\"\n", "by spaces"),
    ] {
        let report = lifecycle.import(Form::of(name, text.as_bytes()), text.as_bytes(), WRITE).await.unwrap();
        let [error] = &report.errors[..] else { panic!("{text}: {report:?}") };
        assert!(error.message.contains(said), "{text}: {}", error.message);
    }
}
