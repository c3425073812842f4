//! `listen` and `upstream`.

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
