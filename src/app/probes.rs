//! `[ops.probes]`: what the platform may ask the API through the ops listener, without a credential. The paths are the
//! operator's alone; nothing of what the prober sends reaches the upstream, and of the answer only its status comes back.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::http::StatusCode;
use hyper::http::uri::PathAndQuery;
use tokio::time::{sleep, timeout};

use super::Snapshot;
use crate::config::path::join;
use crate::config::problem::Problems;
use crate::config::sections::Config;
use crate::forward;
use crate::rejection::{Refusal, Rejection};
use crate::server::body::Upload;
use crate::server::generation::Generations;

/// Longest wait for an answer; whoever probes waits a second, as a rule.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often idle connections are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// The probes of a configuration.
#[derive(Debug)]
pub struct Probes {
    paths: BTreeMap<String, PathAndQuery>,
    /// The upstream of the live environment.
    upstream: Option<usize>,
}

impl Probes {
    /// Compiles `[ops.probes]`.
    pub(super) fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let mut paths = BTreeMap::new();
        let mut sound = true;
        for (name, path) in &config.ops.probes {
            let at = join("ops.probes", name);
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if name.is_empty() || !name.chars().all(is_name) {
                problems.error(&at, format!("`{name}` cannot be asked for as /probe/{name}: letters, digits, -, _ and ."));
                sound = false;
            }
            match path.parse::<PathAndQuery>() {
                Ok(parsed) if path.starts_with('/') => drop(paths.insert(name.clone(), parsed)),
                Ok(_) | Err(_) => {
                    problems.error(&at, format!("`{path}` is not a path")).help("such as \"/healthz\"");
                    sound = false;
                }
            }
        }
        let upstream = config.upstreams.get_index_of(&config.environments.live.upstream);
        if upstream.is_none() && !paths.is_empty() {
            problems.error("ops.probes", "there is no upstream to ask");
            sound = false;
        }
        sound.then_some(Self { paths, upstream })
    }
}

/// Asks the upstream, over connections of its own.
#[derive(Debug)]
pub(super) struct Prober {
    generations: Generations,
}

impl Prober {
    pub(super) fn new(app: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { generations: Generations::new(app, 1, PERIOD) }
    }

    /// Closes connections that were idle for too long, for ever.
    pub(super) async fn sweep(&self) {
        loop {
            sleep(PERIOD).await;
            self.generations.current().pools.sweep();
        }
    }

    /// The upstream's status for the probe of this name; `None` = there is none.
    pub(super) async fn ask(&self, name: &str) -> Option<Result<StatusCode, Refusal>> {
        let generation = self.generations.current();
        let probes = &generation.app.probes;
        let mut request = forward::probe(&generation.app.upstreams, probes.upstream?, probes.paths.get(name)?.clone());
        let progress = Cell::new(0);
        let mut nothing = Upload::default();
        let answer = generation.pools.send(&mut request, &mut nothing, &progress);
        Some(match timeout(PATIENCE, answer).await {
            // Its body is nobody's: the connection ends with it.
            Ok(answered) => answered.map(|response| response.status()),
            Err(_) => Err(Rejection::UpstreamTimeout.into()),
        })
    }
}
