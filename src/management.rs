//! What the management API and self-service act with: the lifecycle of keys, tenants and sessions over the key table that serves, in the name
//! of whoever asks. Its work runs on the store's runtime, never on a worker's.

use std::future::Future;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::audit::Actor;
use crate::key::lifecycle::Lifecycle;
use crate::session::lifecycle::SessionLifecycle;
use crate::store::session::Sessions;
use crate::store::usage::Usages;

/// Management of the key table of a running sidecar.
#[derive(Clone)]
pub struct Management {
    lifecycle: Lifecycle,
    usages: Arc<dyn Usages>,
    sessions: Arc<dyn Sessions>,
    runtime: Handle,
}

/// The work was cut off: the sidecar stops, or it panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the work was cut off")]
pub struct CutOff;

impl Management {
    /// Over a key table, on its runtime.
    #[must_use]
    pub fn new(lifecycle: Lifecycle, usages: Arc<dyn Usages>, sessions: Arc<dyn Sessions>, runtime: Handle) -> Self {
        Self { lifecycle, usages, sessions, runtime }
    }

    /// The lifecycle, in somebody's name.
    #[must_use]
    pub fn on_behalf_of(&self, actor: Actor) -> Lifecycle {
        self.lifecycle.on_behalf_of(actor)
    }

    /// Sessions, in the name that this lifecycle is in.
    #[must_use]
    pub fn sessions(&self, lifecycle: Lifecycle) -> SessionLifecycle {
        SessionLifecycle::new(lifecycle, Arc::clone(&self.sessions))
    }

    /// What its keys were used for.
    #[must_use]
    pub const fn usages(&self) -> &Arc<dyn Usages> {
        &self.usages
    }

    /// Runs a piece of work to its end, whether or not somebody still waits for it.
    ///
    /// # Errors
    /// It has no end.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, CutOff> {
        self.runtime.spawn(work).await.map_err(|_| CutOff)
    }
}

impl std::fmt::Debug for Management {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Management").finish_non_exhaustive()
    }
}
