//! Loading as a whole: layers, merge rules, problems and how they are shown.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::sections::{KeyKind, Listener, ListenerLimits, Upstream};
use super::tree::{Node, SourceKind, Value};
use super::units::Span;
use super::*;

fn loaded(text: &str) -> Loaded {
    load_text(Path::new("proxy.toml"), text, &Sources::default())
}

fn clean(text: &str) -> Config {
    config_of(&loaded(text))
}

fn config_of(loaded: &Loaded) -> Config {
    assert!(!loaded.problems.has_errors(), "{}", loaded.report());
    loaded.config.clone()
}

fn with_environment(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load_text(Path::new("proxy.toml"), text, &Sources { environment, ..Sources::default() })
}

/// The built-in defaults as they are handed out: shorthands written out, paths absolute.
fn defaults() -> Config {
    let mut config = Config { listeners: vec![Listener::public("[::]:8080")], ..Config::default() };
    config.upstreams.insert("main".into(), Upstream { url: "http://127.0.0.1:3000".into(), ..Upstream::default() });
    config.store.url = format!("embedded:{}", std::path::absolute("sidegate-data").unwrap().display());
    config
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    names.map(String::as_str).collect()
}

mod layers {
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
        let report = with_environment("", &[("SIDEGATE__STORE__PASSWORD", "hunter2"), ("SIDEGATE__CACHE__TTL", "soon")]).report();
        assert!(report.contains("--> environment variable SIDEGATE__STORE__PASSWORD"), "{report}");
        assert!(report.contains("did you mean `password_file`?"), "{report}");
        assert!(report.contains("`soon` is not a duration"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
}

mod shorthands {
    use super::*;

    #[test]
    fn listen_and_upstream_become_public_and_main() {
        let config = clean("listen = \"127.0.0.1:1\"\nupstream = \"http://127.0.0.1:2\"");
        assert_eq!(config.listeners, [Listener::public("127.0.0.1:1")]);
        assert_eq!(config.upstreams["main"].url, "http://127.0.0.1:2");
        assert!(clean("upstream = \"\"").upstreams.is_empty());
    }

    #[test]
    fn what_is_written_out_wins_over_the_default_shorthand_and_completes_from_it() {
        let config = clean("[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:1\"\n[upstreams.main]\nconnections = 7");
        assert_eq!(config.listeners[0].address, "127.0.0.1:1");
        assert_eq!(config.listen, "127.0.0.1:1");
        assert_eq!(config.upstreams["main"].url, "http://127.0.0.1:3000");
        assert_eq!(config.upstreams["main"].connections, 7);
    }

    #[test]
    fn both_forms_at_odds_are_an_error() {
        let report = loaded("listen = \"127.0.0.1:1\"\n[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:2\"").report();
        assert!(report.contains("`listen` and `listeners[0].address` say different things"), "{report}");
        assert!(report.contains("proxy.toml:1:10"), "{report}");
        let report = loaded("listen = \"127.0.0.1:1\"\n[[listeners]]\nname = \"other\"\naddress = \"127.0.0.1:2\"").report();
        assert!(report.contains("`listen` has no effect"), "{report}");
    }

    #[test]
    fn a_flag_wins_over_the_written_out_form() {
        let text = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:1\"\n[upstreams.main]\nurl = \"http://127.0.0.1:2\"";
        let flags = vec![("listen".into(), "127.0.0.1:3".into()), ("upstream".into(), "http://127.0.0.1:4".into())];
        let config = config_of(&load_text(Path::new("proxy.toml"), text, &Sources { flags, ..Sources::default() }));
        assert_eq!(config.listeners[0].address, "127.0.0.1:3");
        assert_eq!(config.upstreams["main"].url, "http://127.0.0.1:4");
    }
}

mod problems {
    use super::*;

    /// Message, place, and help of every problem in a text.
    fn expect(text: &str, expected: &[(&str, &str, &str)]) {
        let loaded = loaded(text);
        let report = loaded.report();
        for (message, place, help) in expected {
            let block = report.split("\n\n").find(|block| block.contains(message));
            let block = block.unwrap_or_else(|| panic!("`{message}` is not in\n{report}"));
            assert!(block.contains(&format!("--> proxy.toml:{place}\n")) && block.contains('^'), "{place} is not in\n{block}");
            assert!(help.is_empty() || block.contains(&format!("help: {help}")), "`{help}` is not in\n{block}");
        }
        assert_eq!(loaded.problems.list().len(), expected.len(), "{report}");
    }

    #[test]
    fn many_different_mistakes_of_one_file_are_told_at_once() {
        expect(
            r#"version = 1
lisen = "[::]:8080"
[store]
profile = "gately"
url = "redis://user:pass@redis:6379"
[cache]
ttl = "30 seconds"
max_entries = "many"
[client_ip]
trusted_proxies = ["10.0.0.1/8"]
[restrictions]
ip_allowlist = ["192.0.2.0/24", "nonsense"]
[[routes]]
name = "a"
match = "GET /a"
scopes = []
upstream = "mian"
kinds = ["publishible"]
[[routes]]
name = "a"
match = 5
[log]
level = "warning"
[errors.map]
scope_mising = { code = "X" }
store_unavailable = { status = 401 }
[shutdown]
drain_delay = "1s"
drain_delay = "2s"
"#,
            &[
                ("unknown key `lisen`", "2:1", "did you mean `listen`?"),
                ("unknown key `profile`", "4:1", "`profile` is a key of the top level"),
                ("a password is written in the file", "5:7", "put it into [store] password_file"),
                ("`30 seconds` is not a duration", "7:7", ""),
                ("expected a whole number, found string \"many\"", "8:15", ""),
                ("`10.0.0.1/8` has host bits set; did you mean 10.0.0.0/8?", "10:20", ""),
                ("`nonsense` is not an IP address or CIDR", "12:33", ""),
                ("an empty `scopes` would let nobody in", "16:10", "remove the key"),
                ("there is no upstream `mian`", "17:12", "did you mean `main`?"),
                ("there is no key kind `publishible`", "18:10", "did you mean `publishable`?"),
                ("the name `a` is given twice in [[routes]]", "20:8", ""),
                ("expected a string, found integer `5`", "21:9", ""),
                ("`warning` is not a value of this key", "23:9", "did you mean `warn`?"),
                ("`scope_mising` is neither a reason nor", "25:16", "did you mean `scope_missing`?"),
                ("`store_unavailable` says nothing about the credential", "26:32", ""),
                ("`drain_delay` is given twice", "29:1", ""),
            ],
        );
    }

    #[test]
    fn passwords_are_never_shown() {
        let loaded = loaded("[store]\nurl = \"redis://user:hunter2@redis:6379\"\npassword = \"hunter2\"\n");
        assert!(!loaded.report().contains("hunter2"), "{}", loaded.report());
        assert!(!serde_json::to_string(&loaded.located()).unwrap().contains("hunter2"));
        assert!(!loaded.show(true).contains("hunter2"), "{}", loaded.show(true));
    }

    #[test]
    fn what_is_no_toml_has_line_and_caret_and_the_rest_is_judged() {
        expect(
            "[cache]\nttl = 30s\nmax_entries = \"x\"\n",
            &[("string values must be quoted", "2:7", ""), ("expected a whole number", "3:15", "")],
        );
    }

    #[test]
    fn a_missing_key_is_told_at_its_table_and_not_when_it_was_merely_wrong() {
        expect("[[listeners]]\naddress = \"[::]:1\"\n", &[("the key `name` is missing", "1:1", "")]);
        expect("[[admin.tokens]]\nname = 3\nfile = \"Cargo.toml\"\nallow = []\n", &[("expected a string", "2:8", "")]);
    }

    #[test]
    fn later_modules_report_by_path_and_find_the_line_of_the_layer_it_came_from() {
        let mut loaded = loaded("profile = \"gately\"\n[[routes]]\nname = \"mine\"\nmatch = \"GET /x\"\n");
        loaded.judge(|config, _, problems| {
            let index = config.routes.iter().position(|route| route.name == "mine").unwrap();
            problems.error(format!("routes[{index}].match"), "of the file");
            problems.error("routes[0].match", "of the profile");
            problems.error("identity.headers.X-Project-Id", "of a quoted key");
            problems.error("upstreams.main.url", "of a default");
        });
        let report = loaded.report();
        for (message, place) in
            [("of the file", "--> proxy.toml:4:9"), ("of the profile", "--> profile gately:"), ("of a quoted key", "--> profile gately:")]
        {
            let block = report.split("\n\n").find(|block| block.contains(message)).unwrap();
            assert!(block.contains(place) && block.contains('^'), "{block}");
        }
        assert!(report.contains("error: of a default\n"), "{report}");
    }

    #[test]
    fn what_follows_from_a_mistake_is_not_told_again() {
        let mut loaded = loaded("[[routes]]\nname = \"a\"\nmatch = 5\n[restrictions]\nip_allowlist = [\"x\"]\n");
        let before = loaded.problems.list().len();
        loaded.judge(|_, _, problems| {
            problems.error("routes[0].match", "an empty template");
            let words = "x".parse::<crate::net::Network>().unwrap_err();
            problems.error("restrictions.ip_allowlist", words);
        });
        assert_eq!(loaded.problems.list().len(), before);
    }

    #[test]
    fn a_named_file_that_is_not_there_is_an_error_and_so_is_one_that_is_not_text() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.toml");
        let load_file = || load(&Sources { file: Some(file.clone()), ..Sources::default() });
        assert!(load_file().report().contains("cannot read the configuration file"));
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(load_file().report().contains("is not UTF-8 text"));
    }

    #[test]
    fn a_pod_needs_a_named_store() {
        let in_pod = |text: &str| load_text(Path::new("proxy.toml"), text, &Sources { in_pod: true, ..Sources::default() });
        let report = in_pod("").report();
        assert!(report.contains("in a pod the store must be named") && report.contains("url = \"redis://"), "{report}");
        assert!(!in_pod("[store]\nurl = \"embedded:/data\"").problems.has_errors());
    }

    #[test]
    fn files_are_relative_to_the_configuration_and_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, "[store]\npepper_file = \"pepper\"\npassword_file = \"missing\"\n").unwrap();
        std::fs::write(directory.path().join("pepper"), "x").unwrap();
        let loaded = load(&Sources { file: Some(file), ..Sources::default() });
        assert_eq!(loaded.config.store.pepper_file, directory.path().join("pepper"));
        assert_eq!(loaded.config.store.url, format!("embedded:{}/sidegate-data", directory.path().display()));
        let paths: Vec<&str> = loaded.problems.list().iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["store.password_file"], "{}", loaded.report());
    }

    /// One line of proxy.toml each, and the words of the one problem it must give.
    #[test]
    fn each_rule_has_its_words() {
        for (text, words) in [
            ("version = 2", "version 2 of this file is not known"),
            ("listen = \"\"", "there is no listener"),
            ("[ops]\nlisten = \"127.0.0.1:8080\"", "is already taken by"),
            ("[admin]\nlisten = \"127.0.0.1:1\"", "needs a token"),
            ("[restrictions]\nobserve = [\"ip\"]", "`observe_until` says until when"),
            ("[migration]\nunknown_keys = \"pass\"\nuntil = \"tomorrow\"", "is not a date and time of RFC 3339"),
            ("[credentials]\nsources = []", "an empty `sources` would let nobody in"),
            ("[keys]\nmax_expires_in = \"1 year\"", "is not a duration"),
            ("[scopes]\n\"a\" = \"\"\n[[routes]]\nname = \"x\"\nmatch = \"GET /\"\nscopes = [\"b\"]", "the scope `b` is not in [scopes]"),
            ("[[routes]]\nname = \"x\"\nmatch = \"GET /\"\nrate_limits = [\"fast\"]", "there is no rate limit `fast`"),
            ("[[routes]]\nname = \"x\"\nmatch = \"GET /\"\nissuers = [\"users\"]", "there is no issuer `users`"),
            ("[[routes]]\nname = \"x\"\nmatch = \"GET /\"\nenvironments = []", "an empty `environments`"),
            ("[[key_kinds]]\nname = \"b\"\nprefixes = { live = \"sk_live_\" }", "already stands for live keys of kind `secret`"),
            ("[[key_kinds]]\nname = \"b\"\nprefixes = { live = \"sk_live_b\" }", "overlap"),
            ("[[key_kinds]]\nname = \"b\"", "has no prefix"),
            ("[errors]\nbody = '{\"e\":\"{mesage}\"}'", "there is no placeholder {mesage}"),
            ("[errors.map]\n\"401\" = { status = 402 }", "for a reason only"),
            ("[errors.map]\n\"429\" = { code = \"X\" }", "429 and 5xx have no group"),
            ("[errors.map]\nkey_expired = { status = 200 }", "is not the status of a refusal"),
            ("[[listeners]]\nname = \"public\"\naddress = \"[::]:1\"\nproxy_protocol = true", "PROXY protocol is not part of this release"),
            ("[[listeners]]\nname = \"public\"\naddress = \"[::]:1\"\nprotocols = [\"http2\"]", "HTTP/2 alone is not part"),
            ("upstream = \"https://api\"", "over TLS or HTTP/2 is not part"),
            ("[store]\nurl = \"redis-sentinel://a,b/m\"", "Sentinel or Cluster is not part"),
            ("[tracing]\nsample_ratio = 2.0", "a ratio is 0 to 1"),
        ] {
            let loaded = loaded(text);
            assert!(loaded.problems.has_errors() && loaded.report().contains(words), "{text}\n{}", loaded.report());
        }
        for (text, words) in [
            ("upstream = \"\"", "there is no upstream"),
            ("[restrictions]\nip_allowlist = [\"192.0.2.1\"]", "without `client_ip.trusted_proxies`"),
            ("profile = \"gatelithix\"", "keys of environment test are refused"),
            ("[idempotency]\nmode = \"required\"", "[idempotency] is not part of this release yet"),
            ("[cache]\nstale_for = \"1h\"", "stale_for is not part"),
            ("[[key_kinds]]\nname = \"old\"\nlegacy_prefixes = { live = [\"sk_\"] }\nprefixes = { live = \"o_\" }", "the longer wins"),
        ] {
            let loaded = loaded(text);
            assert!(!loaded.problems.has_errors() && loaded.report().contains(words), "{text}\n{}", loaded.report());
        }
    }
}

mod manual {
    use super::*;

    const MANUAL: &str = include_str!("../../proxy.toml");

    /// The manual with its defaults, and on request its examples, uncommented.
    fn uncommented(with_examples: bool) -> String {
        let line = |line: &str| {
            let text = line.strip_prefix('#').unwrap_or(line);
            let example = text.strip_prefix('#');
            match (example, text.starts_with(' ') && !text.starts_with("  {")) {
                (Some(example), _) if with_examples => format!("{example}\n"),
                (Some(_), _) | (None, true) => "\n".to_owned(),
                (None, false) => format!("{text}\n"),
            }
        };
        MANUAL.lines().map(line).collect()
    }

    #[test]
    fn as_it_stands_it_changes_nothing() {
        assert_eq!(clean(MANUAL), defaults());
        assert_eq!(loaded(MANUAL).report(), "");
    }

    #[test]
    fn what_it_calls_defaults_are_the_defaults() {
        assert_eq!(clean(&uncommented(false)), defaults());
    }

    #[test]
    fn its_examples_are_right_but_for_files_that_are_elsewhere() {
        let loaded = loaded(&uncommented(true));
        for problem in loaded.problems.list().iter().filter(|problem| problem.severity == Severity::Error) {
            assert!(problem.message.starts_with("cannot read /"), "{}", loaded.report());
        }
        assert_eq!(loaded.config.listeners[0].limits, ListenerLimits::default());
        assert_eq!(loaded.config.cors.unwrap().max_age, sections::Cors::default().max_age);
    }

    #[test]
    fn it_has_every_key() {
        fn keys(node: &Node, at: &str, out: &mut BTreeSet<String>, is_counted: &impl Fn(&Node) -> bool) {
            if !is_counted(node) {
                return;
            }
            out.insert(at.to_owned());
            match &node.value {
                Value::Scalar(_) => {}
                Value::List(list) => list.iter().for_each(|node| keys(node, &format!("{at}[]"), out, is_counted)),
                Value::Table(table) => {
                    table.entries.iter().for_each(|(key, node)| keys(node, &format!("{at}.{key}"), out, is_counted));
                }
            }
        }
        let loaded = loaded(&uncommented(true));
        let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
        let effective = Node::built_in(toml::Value::try_from(&loaded.config).unwrap());
        keys(&effective, "", &mut known, &|_| true);
        let is_written = |node: &Node| node.place.source == 0 || loaded.tree.sources[node.place.source].kind == SourceKind::File;
        keys(&loaded.tree.root, "", &mut written, &is_written);
        let missing: Vec<&String> = known.difference(&written).collect();
        assert!(missing.is_empty(), "proxy.toml says nothing of {missing:?}");
    }
}

mod show {
    use super::*;

    fn texts() -> Vec<String> {
        let profiles = profiles::names().map(|name| format!("profile = \"{name}\"\n[upstreams.sandbox]\nurl = \"unix:/run/s\"\n"));
        let file = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:1\"\n[[listeners]]\nname = \"two\"\naddress = \"127.0.0.1:2\"\n\
                    [cors]\norigins = [\"*\"]\n[identity.headers]\n\"X-Secret.Thing\" = \"{tenant.id}\"\n[[routes]]\nname = \"x\"\nmatch = \"GET /\"\n";
        profiles.chain([String::new(), file.to_owned(), "upstream = \"\"".to_owned()]).collect()
    }

    #[test]
    fn what_is_shown_loads_to_the_same_with_and_without_origins() {
        for text in texts() {
            let loaded = loaded(&text);
            for with_origins in [false, true] {
                let shown = loaded.show(with_origins);
                assert_eq!(clean(&shown), config_of(&loaded), "{shown}");
            }
        }
    }

    #[test]
    fn origins_are_named_line_by_line() {
        let mut sources = Sources::default();
        sources.environment.push(("SIDEGATE__CACHE__TTL".into(), "5s".into()));
        sources.flags.push(("store.url".into(), "redis://r".into()));
        let text = "profile = \"gately\"\n[log]\nlevel = \"debug\"\n";
        let shown = load_text(Path::new("proxy.toml"), text, &sources).show(true);
        for line in [
            "level = \"debug\"  # from proxy.toml:3",
            "ttl = \"5s\"  # from environment variable SIDEGATE__CACHE__TTL",
            "url = \"redis://r\"  # from command line (store.url)",
            "access_ttl = \"1h\"  # from profile gately:25",
            "negative_ttl = \"2s\"  # default",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(
        pieces in proptest::collection::vec(
            prop_oneof![
                "\\PC{0,12}",
                proptest::sample::select(vec![
                    "[", "]", "[[", "]]", "{", "}", "=", "\n", "\"", "'", "#", ",", ".", " ", "3", "true", "1979-05-27", "\"x\"", "[]", "0x", "inf",
                    "routes", "listeners", "name", "match", "store", "url", "errors", "map", "upstreams", "main", "listen", "key_kinds", "prefixes",
                    "live", "issuers", "enabled", "identity", "headers", "scopes", "[[routes]]\n", "[store]\n", "name = \"x\"\n", "version = 1\n",
                    "listen = 3\n", "upstreams.main = 3\n", "[[listeners]]\n", "enabled = false\n", "profile = \"gately\"\n", "add_headers = 3\n",
                ]).prop_map(str::to_owned),
            ],
            0..24,
        ),
        variable in "SIDEGATE__[A-Z_]{0,12}",
        value in "\\PC{0,12}",
    ) {
        let text = pieces.concat();
        let environment = vec![(variable, value)];
        let loaded = load_text(Path::new("proxy.toml"), &text, &Sources { environment, ..Sources::default() });
        let _ = loaded.report();
        let _ = serde_json::to_string(&loaded.located()).unwrap();
        let _ = loaded.show(true);
    }
}
