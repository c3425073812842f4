//! Import files, good and bad, into a real store.

mod foreign;

use std::fmt::Write as _;
use std::sync::Arc;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::config::problem::Problems;
use crate::config::sections;
use crate::key::digest::{Digest, Peppers, StoredDigest};
use crate::key::rules::Rules;
use crate::store::change::Position;
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
    (Lifecycle::new(store, rules, Peppers::default(), clock, crate::audit::Actor::local("test")), dir)
}

const WRITE: Options<'static> = Options {
    create_tenants: true,
    on_conflict: OnConflict::Fail,
    resume: false,
    dry_run: false,
    origin: Origin::Sidegate,
    tenant: None,
    rejects: None,
    kinds: &[],
};

async fn import(lifecycle: &Lifecycle, name: &str, text: impl AsRef<[u8]>, options: Options<'_>) -> Report {
    lifecycle.import(Input::of(name, std::io::Cursor::new(text.as_ref().to_vec())), &options, &mut |_| {}).await.unwrap()
}

fn digest(secret: &str) -> String {
    format!("sha256:{}", StoredDigest(Digest::of(secret.as_bytes()).0).to_hex())
}

fn counts(report: &Report) -> (u64, u64, u64, u64) {
    (report.imported, report.updated, report.skipped, report.refused)
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
    let rehearsed = import(&lifecycle, "keys.ndjson", &text, Options { dry_run: true, ..options.clone() }).await;
    assert_eq!((counts(&rehearsed), rehearsed.tenants_created), ((1000, 0, 0, 0), 50));
    assert!(lifecycle.list_tenants().await.unwrap().is_empty());
    let first = import(&lifecycle, "keys.ndjson", &text, options.clone()).await;
    assert_eq!((counts(&first), first.tenants_created), ((1000, 0, 0, 0), 50));
    assert_eq!(opens(&lifecycle, "sk_live_7").await.unwrap().tenant, "tenant-0007");
    let again = import(&lifecycle, "keys.ndjson", &text, options.clone()).await;
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
    let report = import(&lifecycle, "keys.ndjson", &text, WRITE).await;
    let lines: Vec<u64> = report.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
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
    let report = import(&lifecycle, "keys.ndjson", &text, WRITE).await;
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
    import(&lifecycle, "keys.ndjson", line("one"), WRITE).await;
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", line("two"), WRITE).await), (0, 0, 0, 1));
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", line("two"), with(OnConflict::Skip)).await), (0, 0, 1, 0));
    assert_eq!(opens(&lifecycle, "sk_live_a").await.unwrap().name, "one");
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", line("two"), with(OnConflict::Update)).await), (0, 1, 0, 0));
    let found = opens(&lifecycle, "sk_live_a").await.unwrap();
    assert_eq!((found.name.as_str(), found.version), ("two", 2));
    // A file is no way to bring a revoked key back, nor to take it to another tenant.
    lifecycle.set_status("key_1", KeyStatus::Revoked).await.unwrap();
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", line("three"), with(OnConflict::Update)).await), (0, 0, 0, 1));
    // A line without an id is the key that has the secret.
    let anonymous = "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}";
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", anonymous, with(OnConflict::Skip)).await), (0, 0, 1, 0));
    let stolen = "{\"id\":\"key_2\",\"tenant\":\"acme\",\"key\":\"sk_live_a\"}";
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", stolen, with(OnConflict::Update)).await), (0, 0, 0, 1));
}

#[tokio::test]
async fn csv_says_the_same_in_columns() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let text = "id,tenant,name,key,scopes,ip_allowlist,endpoints,expires_at,meta.plan\n\
        key_1,acme,\"Build, test\",sk_live_a,read:a write:b,10.0.0.0/8,GET /v1/a; POST /v1/b,2030-01-01T00:00:00Z,gold\n\
        key_2,acme,x,sk_test_b,,,,,\n\
        key_3,acme,x,sk_live_c,a;b,,,,\n\
        key_4,acme\n";
    let report = import(&lifecycle, "keys.csv", text, WRITE).await;
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
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", text, without).await), (0, 0, 0, 3));
    let report = import(&lifecycle, "keys.ndjson", &text, WRITE).await;
    assert_eq!(counts(&report), (2, 0, 0, 1));
    assert_eq!(report.errors[0].line, 3);
}

#[tokio::test]
async fn no_tenant_is_made_for_keys_that_are_not_written() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    import(&lifecycle, "keys.ndjson", "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}", WRITE).await;
    let elsewhere = b"{\"tenant\":\"gamma\",\"key\":\"sk_live_a\"}";
    for on_conflict in [OnConflict::Skip, OnConflict::Update, OnConflict::Fail] {
        let report = import(&lifecycle, "keys.ndjson", elsewhere, Options { on_conflict, ..WRITE }).await;
        assert_eq!((report.tenants_created, report.imported, report.updated), (0, 0, 0), "{on_conflict:?}");
    }
    let unfit = b"{\"tenant\":\"gamma\",\"key\":\"sk_live_b\",\"scopes\":[\"a b\"]}";
    assert_eq!(import(&lifecycle, "keys.ndjson", unfit, WRITE).await.tenants_created, 0);
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
        ("keys.ndjson", "\u{feff}{\"tenant\":\"acme\",\"key\":\"sk_live_\u{fc}\"}\r\n", "visible ASCII"),
        ("keys.csv", "tenant,key,name\nacme,sk_live_a\n", "2 fields, the header has 3"),
        ("keys.csv", "tenant,name\nacme,a\nacme,b\n", "the first row must name the columns"),
        ("keys.csv", "tenant,key\nacme,\"sk_live_a\nacme,sk_live_b\n", "visible ASCII"),
        ("keys.csv", "key\nsk_live_a\n", "--tenant"),
        ("keys.csv", "tenant,key,ip_allow_list\nacme,sk_live_a,\nacme,sk_live_b,\n", "no field is called `ip_allow_list`"),
        ("keys.csv", "tenant,key,scopes\nacme,sk_live_a,\"read:a,write:a\"\n", "by spaces"),
    ] {
        let report = import(&lifecycle, name, text, WRITE).await;
        let [error] = &report.errors[..] else { panic!("{text}: {report:?}") };
        assert!(error.message.contains(said), "{text}: {}", error.message);
    }
}

#[tokio::test]
async fn what_is_no_utf8_or_has_no_end_is_refused_and_the_rest_imported() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let good = "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}\r\n";
    let text = [good.as_bytes(), b"{\"tenant\":\"acme\",\"key\":\"sk_live_\xff\"}\n", &vec![b'x'; 10 << 20], b"\n"].concat();
    let report = import(&lifecycle, "keys.ndjson", &text, WRITE).await;
    assert_eq!((counts(&report), report.errors[1].line), ((1, 0, 0, 2), 3));
    assert!(report.errors[1].message.contains("longer than"), "{report:?}");
    let text = [
        b"tenant,key,name\nacme,sk_live_b,\"a\nb\"\nacme,sk_live_\xff,x\nacme,sk_live_c,say \"c\"\n",
        "\"".as_bytes(),
        &vec![b'\n'; 2 << 20],
    ];
    let report = import(&lifecycle, "keys.csv", text.concat(), WRITE).await;
    assert_eq!((counts(&report), report.errors[0].line, report.errors[1].line), ((1, 0, 0, 3), 2, 4), "{report:?}");
    assert!(report.errors[1].message.contains("not UTF-8") && report.errors[2].message.contains("longer than"), "{report:?}");
    assert!(opens(&lifecycle, "sk_live_c").await.is_some_and(|record| record.name == "say \"c\""));
    for (name, text) in [("keys.ndjson", b"".as_slice()), ("keys.csv", b"tenant,key\n"), ("stdin", b"\xef\xbb\xbf\n\n")] {
        assert_eq!(counts(&import(&lifecycle, name, text, WRITE).await), (0, 0, 0, 0), "{name}");
    }
    let report = import(&lifecycle, "keys.csv", b"\xff\xfet\0e\0", WRITE).await;
    assert!(report.errors[0].message.contains("UTF-16"), "{report:?}");
}

#[tokio::test]
async fn an_import_is_resumed_without_conflict_but_what_differs_is_told() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let named = "{\"tenant\":\"acme\",\"id\":\"key_1\",\"key\":\"sk_live_a\",\"scopes\":[\"read:a\"]}\n";
    let text = format!("{named}{{\"tenant\":\"acme\",\"key\":\"sk_live_b\"}}\n");
    import(&lifecycle, "keys.ndjson", named, WRITE).await;
    lifecycle.clock.advance(60_000);
    let resume = Options { resume: true, ..WRITE };
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", &text, resume.clone()).await), (1, 0, 1, 0));
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", &text, resume.clone()).await), (0, 0, 2, 0));
    assert_eq!(lifecycle.list_keys(None).await.unwrap().keys.len(), 2);
    lifecycle.set_status("key_1", KeyStatus::Inactive).await.unwrap();
    let report = import(&lifecycle, "keys.ndjson", &text, resume).await;
    assert_eq!(counts(&report), (0, 0, 1, 1));
    assert!(report.errors[0].message.contains("not as this line says"), "{report:?}");
    // An update writes only what differs.
    let update = Options { on_conflict: OnConflict::Update, ..WRITE };
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", &text, update.clone()).await), (0, 1, 1, 0));
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", &text, update).await), (0, 0, 2, 0));
}

#[tokio::test]
async fn a_file_that_is_given_up_early_is_not_taken_for_a_changed_one() {
    let (lifecycle, dir) = bench(OPTIONAL).await;
    for text in ["[\n{}\n]\n", "tenant\nacme\n"] {
        let path = dir.path().join("import");
        std::fs::write(&path, text).unwrap();
        let report = lifecycle.import(Input::open(&path).unwrap(), &WRITE, &mut |_| {}).await.unwrap();
        assert_eq!((counts(&report), report.errors[0].line), ((0, 0, 0, 1), 1), "{report:?}");
    }
}

#[tokio::test]
async fn a_file_that_ends_in_an_error_writes_nothing() {
    struct Broken(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("the disk is gone")),
                n => Ok(n),
            }
        }
    }
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let text = b"{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}\n".to_vec();
    let input = Input::of("keys.ndjson", Broken(std::io::Cursor::new(text)));
    let error = lifecycle.import(input, &WRITE, &mut |_| {}).await.unwrap_err();
    assert!(matches!(&error, ImportError::File(why) if why.contains("the disk is gone")), "{error}");
    assert!(lifecycle.list_keys(None).await.unwrap().keys.is_empty() && lifecycle.list_tenants().await.unwrap().is_empty());
}

#[tokio::test]
async fn times_that_no_year_has_are_told_by_their_lines_and_end_no_import() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let lines = [
        serde_json::json!({ "key": "sk_live_never", "externalId": "acme", "expires": 253_402_300_799_000_i64 }),
        serde_json::json!({ "key": "sk_live_micro", "externalId": "acme", "lastUsedAt": 1_695_000_000_000_000_i64 }),
        serde_json::json!({ "key": "sk_live_past", "externalId": "acme", "expires": i64::MIN }),
        serde_json::json!({ "key": "sk_live_good", "externalId": "acme", "expires": 1_893_456_000_000_i64 }),
    ];
    let text = lines.map(|line| line.to_string()).join("\n");
    let report = import(&lifecycle, "keys.ndjson", &text, Options { origin: Origin::Unkey, ..WRITE }).await;
    assert_eq!(counts(&report), (2, 0, 0, 2), "{report:?}");
    assert!(report.errors[0].line == 2 && report.errors[0].message.contains("milliseconds"), "{report:?}");
    assert_eq!(opens(&lifecycle, "sk_live_never").await.unwrap().expires_at, None);
    let text = r#"{"key":"sk_live_kong","consumer":{"username":"acme"},"created_at":1690000000,"ttl":300000000000}"#;
    let report = import(&lifecycle, "keys.ndjson", text, Options { origin: Origin::Kong, ..WRITE }).await;
    assert!(counts(&report) == (0, 0, 0, 1) && report.errors[0].message.contains("`ttl` is too long"), "{report:?}");
}

#[tokio::test]
async fn an_import_knows_where_the_last_of_its_keys_stands() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let text = "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}\n";
    import(&lifecycle, "keys.ndjson", text, WRITE).await;
    assert_eq!(lifecycle.position(), lifecycle.store.position().await.unwrap());
    let lifecycle =
        Lifecycle::new(lifecycle.store, lifecycle.rules, lifecycle.peppers, lifecycle.clock, crate::audit::Actor::local("test"));
    import(&lifecycle, "keys.ndjson", text, WRITE).await;
    assert_eq!(lifecycle.position(), Position(0));
}

#[tokio::test]
async fn a_file_from_before_a_rotation_brings_no_secret_back_and_one_from_after_ends_no_overlap() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let line = |secret: &str, name: &str, more: &str| {
        format!("{{\"id\":\"key_1\",\"tenant\":\"acme\",\"name\":\"{name}\",\"digest\":\"{}\"{more}}}", digest(secret))
    };
    import(&lifecycle, "keys.ndjson", line("sk_live_a", "one", ""), WRITE).await;
    let rotated = lifecycle.rotate("key_1", Some(std::time::Duration::from_hours(1))).await.unwrap().record;
    let update = Options { on_conflict: OnConflict::Update, ..WRITE };
    let report = import(&lifecycle, "keys.ndjson", line("sk_live_a", "two", ""), update.clone()).await;
    assert!(counts(&report) == (0, 0, 0, 1) && report.errors[0].message.contains("was rotated"), "{report:?}");
    let current = format!("{{\"id\":\"key_1\",\"tenant\":\"acme\",\"name\":\"two\",\"digest\":\"sha256:{}\"}}", rotated.digest);
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", current, update.clone()).await), (0, 1, 0, 0));
    let updated = lifecycle.find_key("key_1").await.unwrap();
    assert_eq!((updated.name.as_str(), &updated.previous, updated.rotated_at), ("two", &rotated.previous, rotated.rotated_at));
    assert!(updated.previous.is_some());
    // One that knows of a later rotation, elsewhere, is followed.
    let later = line("sk_live_c", "three", ",\"rotated_at\":\"2024-01-01T00:00:00Z\"");
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", later, update).await), (0, 1, 0, 0));
    assert!(opens(&lifecycle, "sk_live_c").await.is_some_and(|record| record.previous.is_none()));
}

#[tokio::test]
async fn keys_from_before_a_pepper_was_changed_are_found_under_it() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let under = |lines: &str| {
        let peppers = Peppers::from_lines(&secrecy::SecretSlice::from(lines.as_bytes().to_vec()));
        Lifecycle::new(
            Arc::clone(&lifecycle.store),
            Arc::clone(&lifecycle.rules),
            peppers,
            lifecycle.clock.clone(),
            crate::audit::Actor::local("test"),
        )
    };
    let text = format!("{{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}}\n{{\"tenant\":\"acme\",\"digest\":\"{}\"}}\n", digest("sk_live_b"));
    assert_eq!(counts(&import(&under("old"), "keys.ndjson", &text, WRITE).await), (2, 0, 0, 0));
    let changed = under("new\nold");
    assert_eq!(counts(&import(&changed, "keys.ndjson", &text, Options { resume: true, ..WRITE }).await), (0, 0, 2, 0));
    let named = text.replace("{\"tenant\"", "{\"name\":\"new\",\"tenant\"");
    let update = Options { on_conflict: OnConflict::Update, ..WRITE };
    assert_eq!(counts(&import(&changed, "keys.ndjson", &named, update).await), (0, 2, 0, 0));
    assert_eq!(changed.list_keys(None).await.unwrap().keys.len(), 2);
    assert_eq!(opens(&changed, "sk_live_a").await.unwrap().name, "new");
}
