//! `sidegate routes`: the route table as requests meet it.

use serde::Serialize;

use crate::config::problem::Problems;
use crate::config::{self, Sources};
use crate::route::Routes;

use super::{Exit, Failure, Globals, output};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Row {
    name: String,
    #[serde(rename = "match")]
    matches: String,
    auth: &'static str,
    demands: String,
    defined: String,
}

/// Runs it.
///
/// # Errors
/// `Exit::Configuration` where the configuration is wrong.
pub fn run(_args: &Args, globals: &Globals) -> Result<(), Failure> {
    let loaded = config::load(&Sources::from_globals(globals));
    loaded.require()?;
    let routes = Routes::compile(&loaded.config, &mut Problems::default());
    let routes = routes.ok_or_else(|| Exit::Configuration.because("the routes do not compile; `sidegate check` says why"))?;
    let rows: Vec<Row> = routes
        .by_precedence()
        .map(|route| Row {
            name: route.name.to_string(),
            matches: route.template.to_string(),
            auth: if route.open { "none" } else { "required" },
            demands: route.demands(),
            defined: if route.path.is_empty() { String::new() } else { loaded.origin(&route.path).unwrap_or_default() },
        })
        .collect();
    if globals.json {
        output::json(&rows);
    } else {
        output::table(
            &["name", "match", "auth", "demands", "defined"],
            rows.into_iter().map(|row| vec![row.name, row.matches, row.auth.into(), row.demands, row.defined]),
        );
    }
    Ok(())
}
