//! What each layer does to the ones below.

use super::*;

#[test]
fn nothing_written_is_the_defaults() {
    assert_eq!(clean(""), defaults());
}

#[test]
fn every_profile_loads_without_errors() {
    for name in profiles::names() {
        clean(&format!("profile = \"{name}\""));
    }
}

#[test]
fn the_file_is_above_the_profile_the_environment_above_the_file_and_flags_above_all() {
    let text = "profile = \"gatelithix\"\n[idempotency]\nttl = \"1h\"\nmax_body = \"2MiB\"\nlock_timeout = \"5s\"";
    let sources = Sources {
        environment: vec![
            ("SIDEGATE__IDEMPOTENCY__MAX_BODY".into(), "3MiB".into()),
            ("SIDEGATE__IDEMPOTENCY__LOCK_TIMEOUT".into(), "6s".into()),
        ],
        flags: vec![("idempotency.lock_timeout".into(), "7s".into())],
        ..Sources::default()
    };
    let idempotency = config_of(&load_text(Path::new("proxy.toml"), text, &sources)).idempotency;
    assert_eq!(idempotency.mode, sections::IdempotencyMode::Required);
    assert_eq!(idempotency.ttl, Span::secs(3600));
    assert_eq!(idempotency.max_body.to_string(), "3MiB");
    assert_eq!(idempotency.lock_timeout, Span::secs(7));
    assert_eq!(idempotency.header, "Idempotency-Key");
}

#[test]
fn a_profile_may_be_named_by_file_environment_or_flag() {
    assert_eq!(clean("profile = \"gately\"").key_kinds.len(), 1);
    assert_eq!(config_of(&with_environment("", &[("SIDEGATE__PROFILE", "gately")])).key_kinds.len(), 1);
    let flags = vec![("profile".into(), "gately".into())];
    let loaded = load_text(Path::new("proxy.toml"), "profile = \"standard\"", &Sources { flags, ..Sources::default() });
    assert_eq!(config_of(&loaded).key_kinds[0].prefixes.live.as_deref(), Some("gately_sk_live_"));
}

#[test]
fn an_unknown_profile_is_an_error_with_a_suggestion() {
    let report = loaded("profile = \"gatly\"").report();
    assert!(report.contains("there is no profile `gatly`") && report.contains("proxy.toml:1:11"), "{report}");
    assert!(report.contains("did you mean `gately`?"), "{report}");
}

#[test]
fn tables_merge_key_by_key_but_those_of_the_users_words_replace() {
    let text = "profile = \"gately\"\n[identity.headers]\n\"X-Only\" = \"{tenant.id}\"\n[errors]\nrealm = \"mine\"\n\
                [errors.map]\nkey_expired = { code = \"OLD\" }\n\"401\" = { code = \"NO\" }";
    let config = clean(text);
    assert_eq!(names(config.identity.headers.keys()), ["X-Only"]);
    assert_eq!(config.errors.realm, "mine");
    assert_eq!(names(config.errors.map.keys()), ["credential_missing", "401", "scope_missing", "key_expired"]);
    assert_eq!(config.errors.map["401"].code.as_deref(), Some("NO"));
    assert_eq!(config.errors.map["401"].message.as_deref(), Some("Invalid or expired token"));

    let config = clean("profile = \"g-tateth\"\n[scopes]\n\"read:customers\" = \"Read\"\n[environments.test]\nlabel = \"Trial\"");
    assert_eq!(names(config.scopes.keys()), ["read:customers"]);
    assert_eq!(config.environments.test.label, "Trial");
    assert_eq!(config.environments.live.label, "Production");
}

#[test]
fn lists_replace_and_named_lists_of_a_profile_too() {
    let config = clean("profile = \"gately\"");
    assert_eq!(config.key_kinds.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>(), ["secret"]);
    let config = clean("[credentials]\nsources = [{ header = \"X-Key\" }]");
    assert_eq!(config.credentials.sources.len(), 1);
}

#[test]
fn named_lists_of_the_file_merge_into_those_of_the_profile() {
    let text = "profile = \"gately\"\n[[routes]]\nname = \"refresh\"\nenabled = false\n[[routes]]\nname = \"auth\"\n\
                match = \"POST /login\"\n[[routes]]\nname = \"mine\"\nmatch = \"GET /mine\"";
    let config = clean(text);
    let routes: Vec<(&str, &str)> = config.routes.iter().map(|route| (route.name.as_str(), route.matches.as_str())).collect();
    assert_eq!(routes, [("auth", "POST /login"), ("everything", "* /**"), ("mine", "GET /mine")]);
    // Replaced as a whole: the profile's `auth = "none"` must not live on in a route that does not say it.
    assert_eq!(config.routes[0].auth, sections::RouteAuth::Required);
}

#[test]
fn a_kind_of_the_file_replaces_the_built_in_one_of_its_name_only() {
    let config = clean("[[key_kinds]]\nname = \"secret\"\nprefixes = { live = \"acme_live_\" }");
    assert_eq!(config.key_kinds[0].prefixes, sections::Prefixes { live: Some("acme_live_".into()), test: None });
    assert_eq!(config.key_kinds[1], KeyKind { ..Config::default().key_kinds[1].clone() });
}

#[test]
fn variables_have_the_type_of_their_key() {
    let config = config_of(&with_environment(
        "",
        &[
            ("SIDEGATE__CACHE__MAX_ENTRIES", "5000"),
            ("SIDEGATE__ENVIRONMENTS__TEST__ALLOW", "true"),
            ("SIDEGATE__TRACING__SAMPLE_RATIO", "0.5"),
            ("SIDEGATE__CLIENT_IP__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("SIDEGATE__RESTRICTIONS__IP_ALLOWLIST", "[\"192.0.2.0/24\"]"),
            ("SIDEGATE__ROUTES", "[{ name = \"all\", match = \"* /**\" }]"),
            ("SIDEGATE__ERRORS__REALM", "42"),
            ("SIDEGATE__UPSTREAMS__SANDBOX__URL", "http://127.0.0.1:4000"),
        ],
    ));
    assert_eq!(config.cache.max_entries, 5000);
    assert_eq!(config.environments.test.allow, Some(true));
    assert!((config.tracing.sample_ratio - 0.5).abs() < 1e-9);
    assert_eq!(config.client_ip.trusted_proxies, ["10.0.0.0/8"]);
    assert_eq!(config.restrictions.ip_allowlist.unwrap(), ["192.0.2.0/24"]);
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.errors.realm, "42");
    assert_eq!(config.upstreams["sandbox"].url, "http://127.0.0.1:4000");
}

#[test]
fn a_wrong_variable_is_named_and_its_value_is_not_shown() {
    let report = with_environment(
        "",
        &[
            ("SIDEGATE__STORE__PASSWORD", "hunter2"),
            ("SIDEGATE__CACHE__TTL", "soon"),
            ("SIDEGATE__CLIENT_IP__TRUSTED_PROXIES", "10.0.0.0/8"),
        ],
    );
    assert_eq!(report.problems.list().len(), 3);
    let report = report.report();
    assert!(report.contains("--> environment variable SIDEGATE__STORE__PASSWORD"), "{report}");
    assert!(report.contains("did you mean `password_file`?"), "{report}");
    assert!(report.contains("`soon` is not a duration"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}
