//! The route of `[oauth_metadata]`: GET of its document, which anybody may read. It stands in the table beside the others.

use std::sync::Arc;

use super::Route;
use super::compile::implied;
use super::table::Table;
use super::template::{Step, Template};
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::facts::path::Encoded;
use crate::oauth_metadata::Metadata;

const PATH: &str = "oauth_metadata.resource";

/// Adds it; `false` after an error.
pub(super) fn add(config: &Config, table: &mut Table<Arc<Route>>, list: &mut Vec<Arc<Route>>, problems: &mut Problems) -> bool {
    let Ok(metadata) = Metadata::compile(config, problems) else { return false };
    let Some(Metadata { path, document, .. }) = metadata else { return true };
    let Some(template) = problems.parse::<Template>(PATH, &format!("GET {path}")) else { return false };
    if !template.steps.iter().all(|step| matches!(step, Step::Static(text) if !text.is_empty())) {
        problems.error(PATH, format!("`{path}`: literal segments, without a slash at the end, such as https://api.example/v1"));
        return false;
    }
    let route = Arc::new(Route {
        path: PATH.into(),
        template: template.to_string().into(),
        open: true,
        idempotency_off: true,
        document: Some(document),
        rank: template.rank(),
        ..implied("oauth-metadata", true, Encoded::default())
    });
    if let Err(there) = table.insert(&template, Arc::clone(&route)) {
        problems
            .error(format!("{}.match", there.path), format!("`{}` is what [oauth_metadata] answers", there.template))
            .help("drop the route, or oauth_metadata.resource");
        return false;
    }
    list.push(route);
    true
}
