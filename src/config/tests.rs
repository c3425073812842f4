//! Loading as a whole: layers, merge rules, problems and how they are shown.

use std::path::Path;

use super::*;

fn loaded(text: &str) -> Loaded {
    load_text(Path::new("proxy.toml"), text, &Sources::default())
}

fn clean(text: &str) -> Config {
    let loaded = loaded(text);
    assert!(!loaded.problems.has_errors(), "{}", loaded.report());
    loaded.config
}

#[test]
fn every_profile_loads_without_errors() {
    for name in profiles::names() {
        clean(&format!("profile = \"{name}\""));
    }
}
