//! What is told of which mistake, and where.

use super::*;

/// Message, place, and help of every problem in a text.
fn expect(text: &str, expected: &[(&str, &str, &str)]) {
    let loaded = loaded(text);
    let report = loaded.report();
    for (message, place, help) in expected {
        let place = format!("--> proxy.toml:{place}\n");
        let block = report.split("\n\n").find(|block| block.contains(message) && block.contains(&place));
        let block = block.unwrap_or_else(|| panic!("`{message}` {place} is not in\n{report}"));
        assert!(block.contains('^'), "{block}");
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

#[test]
fn an_address_that_cannot_be_listened_on_is_told_where_it_is_written() {
    for (text, place, words) in [
        ("listen = \"localhost\"", "1:10", "such as \"localhost:8080\""),
        ("listen = \"127.0.0.1:99999\"", "1:10", "a port is 0 to 65535"),
        ("[[listeners]]\nname = \"x\"\naddress = \":8080\"", "3:11", "\"[::]:8080\""),
        ("[ops]\nlisten = \"9901\"", "2:10", "\"[::]:9901\""),
        ("[admin]\nlisten = \"unix:\"\n[[admin.tokens]]\nname = \"x\"\nfile = \"Cargo.toml\"\nallow = [\"*\"]", "2:10", "names no path"),
        ("listen = \"[::]:3000\"", "", "in a circle"),
        ("listen = \"[::]:1\"\nupstream = \"http://localhost:1\"", "2:12", "in a circle"),
    ] {
        let mut loaded = loaded(text);
        assert!(loaded.compile().is_none(), "{text}");
        let report = loaded.report();
        assert!(report.contains(words) && (place.is_empty() || report.contains(&format!("proxy.toml:{place}\n"))), "{text}\n{report}");
    }
}

#[test]
fn a_missing_key_hides_no_other_mistake_of_its_table() {
    expect(
        "[[routes]]\nmatch = \"GET /a\"\nscopes = []\nkinds = [\"publishible\"]\n[[routes]]\nname = 3\nscopes = []\n",
        &[
            ("the key `name` is missing", "1:1", ""),
            ("an empty `scopes`", "3:10", ""),
            ("there is no key kind `publishible`", "4:10", ""),
            ("expected a string", "6:8", ""),
            ("an empty `scopes`", "7:10", ""),
        ],
    );
    // A number cannot be stood in for: nothing is made up of the rest.
    expect("[rate_limits.a]\nby = [\"key\"]\nper = \"1s\"\n", &[("the key `requests` is missing", "1:1", "")]);
}

#[test]
fn a_number_in_the_place_of_a_text_is_told_with_its_unit() {
    expect(
        "listen = 8080\n[ops]\nlisten = 9901\n[cache]\nttl = 30\n[[listeners]]\nname = \"x\"\naddress = 8081\nlimits = { header_bytes = 32768, body_min_rate = 5, connections = -1 }\n[runtime]\nworkers = -1\n[keys]\nrotate_overlap = -5\n",
        &[
            ("expected a string, found integer `8080`", "1:10", "write listen = \"[::]:8080\""),
            ("expected a string, found integer `9901`", "3:10", "write listen = \"[::]:9901\""),
            ("expected a duration, found integer `30`", "5:7", "write ttl = \"30s\""),
            ("expected a string, found integer `8081`", "8:11", "write address = \"[::]:8081\""),
            ("expected a size, found integer `32768`", "9:27", "write header_bytes = \"32768B\""),
            ("expected a rate, found integer `5`", "9:50", "write body_min_rate = \"5B/s\""),
            ("that is not negative, found integer `-1`", "9:67", ""),
            ("that is not negative, found integer `-1`", "11:11", ""),
            ("expected a duration, found integer `-5`", "13:18", ""),
        ],
    );
}

/// One line of proxy.toml each, and the words of the one problem it must give.
#[test]
fn each_rule_has_its_words() {
    for (text, words) in [
        ("[upstreams.sandbox]\nconnections = 1", "the upstream `sandbox` has no url"),
        ("[listeners]\nname = \"x\"", "write it with double brackets: [[listeners]]"),
        ("[errors]\ncode_case = 5", "expected a string, found integer `5`"),
        ("[cache]\nmax_entries = \"mapped\"", "expected a whole number, found string \"mapped\""),
        ("[upstreams]\nmain = 3", "expected a table, found integer `3`"),
        ("[[credentials]]\nforward = {}", "expected a table, found a list"),
        ("[[identity]]\n\"X-A\" = \"{tenant.id}\"", "write it with single brackets: [identity]"),
        ("routes = [[\"name\", \"GET /\"]]", "expected a table, found a list"),
        ("version = 2", "version 2 of this file is not known"),
        ("listen = \"\"", "there is no listener"),
        ("[ops]\nlisten = \"127.0.0.1:8080\"", "is already taken by"),
        ("[admin]\nlisten = \"127.0.0.1:1\"", "needs a token"),
        ("[restrictions]\nobserve = [\"ip\"]", "`observe_until` says until when"),
        ("[migration]\nunknown_keys = \"pass\"", "`until` says until when"),
        ("[migration]\nunknown_keys = \"pass\"\nuntil = \"tomorrow\"", "is not a date and time of RFC 3339"),
        ("[restrictions]\nobserve_until = \"2027-13-01\"", "is not a date and time of RFC 3339"),
        ("[restrictions]\nobserve = [\"kind\"]", "one of `ip`, `referrer`, `endpoint`, `scope`"),
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
        ("[[listeners]]\nname = \"public\"\naddress = \"[::]:1\"\nproxy_protocol = true", "nobody is trusted to say"),
        ("[[listeners]]\nname = \"public\"\naddress = \"[::]:1\"\nrole = \"authz-http\"", "nobody is trusted to say which request"),
        ("[client_ip]\ntrusted_proxies = [\"unix:\"]", "`unix:` is not"),
        ("[tracing]\nsample_ratio = 2.0", "a ratio is 0 to 1"),
        ("[cache]\nsnapshot_file = \"keys\"", "needs [store] pepper_file"),
        ("[store]\npepper_file = \"p\"\n[cache]\nsnapshot_file = \"s\"\nstale_for = \"0s\"", "nothing of it may be served"),
    ] {
        let loaded = loaded(text);
        assert!(loaded.problems.has_errors() && loaded.report().contains(words), "{text}\n{}", loaded.report());
    }
    for (text, words) in [
        ("upstream = \"\"", "there is no upstream"),
        ("[restrictions]\nip_allowlist = [\"192.0.2.1\"]", "without `client_ip.trusted_proxies`"),
        ("profile = \"gatelithix\"", "keys of environment test are refused"),
        ("[store]\npepper_file = \"/dev/null\"\n[cache]\nsnapshot_file = \"s\"\nstale_for = \"0s\"", "nothing of it may be served"),
        ("[migration]\nunknown_keys = \"pass\"\nuntil = \"2999-01-01\"", "passed on without identity until 2999-01-01T00:00:00Z"),
        (
            "upstream = \"\"\n[client_ip]\ntrusted_proxies = [\"unix\"]\n[[listeners]]\nname = \"public\"\naddress = \"unix:/s\"\nrole = \"authz-http\"",
            "a gateway forwards itself",
        ),
        ("[migration]\nunknown_keys = \"pass\"\nuntil = \"2020-01-01\"", "the end is past"),
        ("[restrictions]\nobserve = [\"ip\"]\nobserve_until = \"2999-01-01\"", "ip: only observed until 2999-01-01T00:00:00Z"),
        ("[[key_kinds]]\nname = \"old\"\nlegacy_prefixes = { live = [\"sk_\"] }\nprefixes = { live = \"o_\" }", "the longer wins"),
    ] {
        let loaded = loaded(text);
        assert!(!loaded.problems.has_errors() && loaded.report().contains(words), "{text}\n{}", loaded.report());
    }
}
