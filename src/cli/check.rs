//! `sidegate check`: the code of start, without starting. The report is the result, so it goes to stdout.

use crate::config::sections::Role;
use crate::config::{self, Loaded, Sources};

use super::{Exit, Failure, Globals, output};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// `Exit::Configuration` if Sidegate would not start with it.
pub fn run(_args: &Args, globals: &Globals) -> Result<(), Failure> {
    let mut loaded = config::load(&Sources::from_globals(globals));
    let is_good = loaded.compile().is_some();
    if globals.json {
        output::json(&loaded.located());
    } else if !(is_good && globals.quiet) {
        let report = loaded.report();
        if !report.is_empty() {
            output::line(&report);
        }
        if is_good {
            summary(&loaded);
        }
    }
    if is_good { Ok(()) } else { Err(Exit::Configuration.because(format!("{}: {}", loaded.name(), loaded.counts()))) }
}

fn summary(loaded: &Loaded) {
    let config = &loaded.config;
    output::line(format_args!("{}: ok ({})", loaded.name(), loaded.counts()));
    for listener in &config.listeners {
        let tls = if listener.tls.is_some() { " (TLS)" } else { "" };
        let role = if listener.role == Role::AuthzHttp { " (decisions for a gateway)" } else { "" };
        output::line(format_args!("  listener {}: {}{tls}{role}", listener.name, listener.address));
    }
    if !config.admin.listen.is_empty() {
        let names: Vec<&str> = config.admin.tokens.iter().map(|token| token.name.as_str()).collect();
        output::line(format_args!("  management: {} (tokens: {})", config.admin.listen, names.join(", ")));
    }
    for (name, upstream) in &config.upstreams {
        output::line(format_args!("  upstream {name}: {}", upstream.url));
    }
    output::line(format_args!("  store: {}", config::without_passwords(&config.store.url)));
    let routes = match config.routes.len() {
        0 => "none; every path needs a valid credential".to_owned(),
        n => n.to_string(),
    };
    output::line(format_args!("  routes: {routes}"));
}
