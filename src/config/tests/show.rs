//! `config show`.

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
fn which_environments_are_served_is_shown_where_deployment_decides_it() {
    for (text, live, test) in [
        ("", true, false),
        ("deployment = \"staging\"", false, true),
        ("deployment = \"development\"", true, true),
        ("[environments]\nlive.allow = false\ntest.allow = true", false, true),
    ] {
        let shown: toml::Table = loaded(text).show(false).parse().unwrap();
        assert_eq!(shown["environments"]["live"]["allow"].as_bool(), Some(live), "{text}");
        assert_eq!(shown["environments"]["test"]["allow"].as_bool(), Some(test), "{text}");
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
