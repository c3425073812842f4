//! Objects of other systems, and what is kept of the rows that are refused.

use super::*;

#[tokio::test]
async fn refused_lines_are_kept_with_reasons_and_without_secrets() {
    let (lifecycle, dir) = bench(OPTIONAL).await;
    let path = dir.path().join("refused");
    let kinds = sections::Config::default().key_kinds;
    let options = || Options { rejects: Some(path.clone()), kinds: &kinds, create_tenants: false, ..WRITE };
    let text = format!(
        "{}\n{}\n{}\n{}\n{}\n",
        r#"{"tenant":"acme","key":"sk_live_secret1","name":"n","metadata":{"was":"sk_test_secret2"},"scopes":["a"]}"#,
        r#"{"tenant":"acme","api_key":"legacy-secret3","key":"secret4"}"#,
        r#"{"tenant":"acme","digest":"secret5","scopes":"sk_live_secret6"}"#,
        r#"{"tenant":"acme","key":"sk_live_secret7","sk_live_secret8":1}"#,
        "sk_live_secret9",
    );
    let report = import(&lifecycle, "keys.ndjson", &text, options()).await;
    assert_eq!((report.refused, report.rejects.as_deref()), (5, Some(path.as_path())));
    let kept = std::fs::read_to_string(&path).unwrap();
    for hidden in [&kept, &format!("{report:?}")] {
        assert!((1..=9).all(|number| !hidden.contains(&format!("secret{number}"))), "{hidden}");
    }
    let lines: Vec<serde_json::Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["line"], &lines[0]["entry"]["name"], &lines[0]["entry"]["scopes"][0]), (&1.into(), &"n".into(), &"a".into()));
    assert!(lines[0]["reason"].as_str().unwrap().contains("--create-tenants"));
    assert!(lines[0]["entry"]["digest"].as_str().unwrap().starts_with("sha256:"), "it became a record");
    let fingerprint = Digest::of(b"secret4").fingerprint();
    assert!(lines[1]["entry"]["key"].as_str().unwrap().contains(&fingerprint));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Columns that are shifted, and keys that look like nothing.
    let any: sections::Config = toml::from_str("[[key_kinds]]\nname = \"any\"\nprefixes = { live = \"\" }").unwrap();
    let blind = Options { kinds: &any.key_kinds, ..options() };
    let text = "tenant,environment,expires_at,key\nacme,hidden-a,,x\nacme,,hidden-b,x\nacme,live,,x,hidden-c\n";
    let report = import(&lifecycle, "keys.csv", text, blind.clone()).await;
    let text =
        "{\"tenant\":\"acme\",\"scopes\":\"hidden-d\"}\n{\"tenant\":\"acme\",\"created_at\":\"hidden-e\"}\n{\"tenant\":[\"hidden-f\"]}\n";
    let kept = std::fs::read_to_string(&path).unwrap();
    let report = format!("{report:?}{kept}{:?}", import(&lifecycle, "keys.ndjson", text, blind).await);
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(!report.contains("hidden") && !kept.contains("hidden"), "{report}{kept}");
    assert!(report.contains("expected `live` or `test`") && report.contains("not a time in RFC 3339"), "{report}");
    // Nothing refused, no file.
    std::fs::remove_file(&path).unwrap();
    let fine = Options { create_tenants: true, ..options() };
    assert_eq!(counts(&import(&lifecycle, "keys.ndjson", "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}", fine).await), (1, 0, 0, 0));
    assert!(!path.exists());
}

#[tokio::test]
async fn keys_of_unkey_are_imported_as_its_api_lists_and_migrates_them() {
    let (lifecycle, _dir) = bench(OPTIONAL).await;
    let base64 = |secret: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, Digest::of(secret.as_bytes()).0);
    let lines = [
        serde_json::json!({
            "keyId": "key_2cGKbMxRyIzhCxo1Idjz8q", "start": "sk_live_32kq", "hash": base64("sk_live_32kq_listed"), "enabled": true,
            "name": "Payment Service", "meta": { "plan": "pro", "seats": 5, "beta": null }, "createdAt": 1_690_000_000_000_i64,
            "updatedAt": 1_690_000_000_001_i64, "lastUsedAt": 1_695_000_000_000_i64, "expires": 1_893_456_000_000_i64,
            "permissions": ["documents.read"], "roles": ["editor"], "identity": { "id": "id_1", "externalId": "user_1234abcd" },
            "credits": { "remaining": null }, "ratelimits": [],
        }),
        serde_json::json!({
            "apiId": "api_1", "prefix": "sk_test", "hash": { "value": base64("sk_test_migrated"), "variant": "sha256_base64" },
            "ownerId": "user_1234abcd", "enabled": false, "environment": "test",
        }),
        serde_json::json!({ "plaintext": "sk_live_plain", "externalId": "user_2" }),
        serde_json::json!({ "hash": base64("sk_live_limited"), "externalId": "user_2", "ratelimits": [{ "name": "r", "limit": 5, "duration": 1000 }] }),
        serde_json::json!({ "hash": base64("sk_live_md5"), "externalId": "user_2", "hashed": true }),
    ];
    let text = lines.map(|line| line.to_string()).join("\n");
    let report = import(&lifecycle, "keys.ndjson", &text, Options { origin: Origin::Unkey, ..WRITE }).await;
    assert_eq!((counts(&report), report.tenants_created), ((3, 0, 0, 2), 2), "{report:?}");
    assert!(report.errors[0].message.contains("`ratelimits` limits the key"), "{report:?}");
    let listed = opens(&lifecycle, "sk_live_32kq_listed").await.unwrap();
    assert_eq!(
        (listed.id.as_str(), listed.tenant.as_str(), listed.name.as_str()),
        ("key_2cGKbMxRyIzhCxo1Idjz8q", "user_1234abcd", "Payment Service")
    );
    assert_eq!((listed.scopes.join(" ").as_str(), listed.expires_at), ("documents.read editor", Some(Timestamp(1_893_456_000_000))));
    assert_eq!((listed.metadata["plan"].as_str(), listed.metadata["seats"].as_str(), listed.metadata.len()), ("pro", "5", 2));
    let migrated = opens(&lifecycle, "sk_test_migrated").await.unwrap();
    assert_eq!((migrated.status, migrated.environment), (KeyStatus::Inactive, sections::EnvironmentName::Test));
    assert_eq!(opens(&lifecycle, "sk_live_plain").await.unwrap().tenant, "user_2");
}

#[tokio::test]
async fn credentials_of_kong_are_imported_as_its_api_lists_and_deck_dumps_them() {
    let any = "[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"\" }\nchecksum = \"optional\"\n";
    let (lifecycle, _dir) = bench(any).await;
    let lines = [
        r#"{"id":"6b9443ae-73f0-4db6-af00-4f1e3a415dbb","created_at":1690000000,"key":"4174348a-9222-4e81-b33e-5d72d2fd7f1e","tags":["gold","eu"],"consumer":{"id":"59d1ef15-24a5-4373-b957-e8192c15ff6e"},"ttl":null}"#,
        r#"{"key":"mobile-api-key-123","consumer":{"username":"mobile-app","custom_id":"mobile-client-001"}}"#,
        r#"{"key":"short-lived","created_at":1690000000.5,"ttl":3600,"consumer":{"id":"c1","username":null}}"#,
        r#"{"key":"nobodys"}"#,
        r#"{"key":"{vault://env/key}","consumer":{"username":"mobile-app"}}"#,
    ];
    let options = Options { origin: Origin::Kong, tenant: Some("rest"), ..WRITE };
    let report = import(&lifecycle, "keys.ndjson", lines.join("\n"), options).await;
    assert_eq!(counts(&report), (4, 0, 0, 1), "{report:?}");
    assert!(report.errors[0].line == 5 && report.errors[0].message.contains("vault"), "{report:?}");
    let listed = opens(&lifecycle, "4174348a-9222-4e81-b33e-5d72d2fd7f1e").await.unwrap();
    assert_eq!((listed.tenant.as_str(), listed.metadata["tags"].as_str()), ("59d1ef15-24a5-4373-b957-e8192c15ff6e", "gold eu"));
    assert_eq!(opens(&lifecycle, "mobile-api-key-123").await.unwrap().tenant, "mobile-app");
    assert_eq!(opens(&lifecycle, "short-lived").await.unwrap().expires_at, Some(Timestamp(1_690_003_600_500)));
    assert_eq!(opens(&lifecycle, "nobodys").await.unwrap().tenant, "rest");
}

#[tokio::test]
async fn a_key_in_the_place_of_a_digest_is_not_kept_with_the_refused_rows() {
    let (lifecycle, dir) = bench(OPTIONAL).await;
    let secrets = ["other_live_0123456789012345678901234567890123456789", "sk_live_01234567890123456789012345678901234"];
    let path = dir.path().join("rejected");
    let kinds = sections::Config::default().key_kinds;
    let options = Options { rejects: Some(path.clone()), kinds: &kinds, ..WRITE };
    let row = |digest: String| serde_json::json!({ "tenant": "acme", "digest": digest, "nonsense": 1 }).to_string();
    let rows = secrets.map(|secret| row(format!("sha256-base64:{secret}")));
    import(&lifecycle, "keys.ndjson", rows.join("\n"), options.clone()).await;
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept.lines().count() == 2 && !kept.contains("0123456789012"), "{kept}");
    import(&lifecycle, "keys.ndjson", row(digest("sk_live_x")), options).await;
    assert!(std::fs::read_to_string(&path).unwrap().contains(&digest("sk_live_x")));
}

#[tokio::test]
async fn refused_rows_go_into_a_file_of_their_own_and_a_clean_run_leaves_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let (lifecycle, dir) = bench(OPTIONAL).await;
    let (path, target) = (dir.path().join("rejected"), dir.path().join("target"));
    let options = Options { rejects: Some(path.clone()), on_conflict: OnConflict::Skip, ..WRITE };
    std::fs::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let wrong = lifecycle.import(Input::of("keys.ndjson", std::io::Cursor::new(b"{}\n".to_vec())), &options, &mut |_| {}).await;
    assert!(matches!(wrong, Err(ImportError::File(_))), "{wrong:?}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    import(&lifecycle, "keys.ndjson", "{}\n", options.clone()).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    import(&lifecycle, "keys.ndjson", "{\"tenant\":\"acme\",\"key\":\"sk_live_a\"}\n", options).await;
    assert!(!path.exists());
}
