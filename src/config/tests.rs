//! Loading as a whole: layers, merge rules, problems and how they are shown.

mod layers;
mod manual;
mod problems;
mod shorthands;
mod show;

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
    config.environments.live.allow = Some(true);
    config.environments.test.allow = Some(false);
    config.store.url = format!("embedded:{}", std::path::absolute("sidegate-data").unwrap().display());
    config
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    names.map(String::as_str).collect()
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
