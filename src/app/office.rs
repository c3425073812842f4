//! The thread beside the workers: the ops and the admin listener, the control socket, spans on their way out, and the look at the
//! files from time to time.
//! None of it is on the way of a request, and nothing of it waits for a worker.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::sleep;

use super::admin;
use super::control::Control;
use super::exposed;
use super::health::Health;
use super::ops::Ops;
use super::reload::{Reloader, Trigger};
use super::traces::Exporter;
use crate::admin::Api;
use crate::server::bind::Bound;

/// How long the end waits for what is being managed.
const GOODBYE: Duration = Duration::from_secs(1);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The thread.
#[derive(Debug)]
pub(super) struct Office {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    files: Vec<PathBuf>,
}

impl Office {
    /// Starts it, on sockets that are bound.
    pub(super) fn start(health: Arc<Health>, ops: Option<Bound>, control: Option<Bound>, admin: Option<Bound>) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let files = ops.iter().chain(&control).chain(&admin).filter_map(Bound::file).map(Path::to_owned).collect();
        let api = admin.map(|bound| (Arc::new(Api::new(Arc::clone(&health))), bound));
        let work = move || async move {
            if let Some(bound) = ops {
                spawn_local(Ops::new(Arc::clone(&health)).serve(bound));
            }
            if let Some(bound) = control {
                spawn_local(Arc::new(Control::new(Arc::clone(&health))).serve(bound));
            }
            spawn_local(look(Arc::clone(&health.reloader)));
            let watched = Arc::clone(&health);
            spawn_local(async move { exposed::watch(&watched).await });
            let exporter = Exporter::new(Arc::clone(health.reloader.app()));
            let exporting = spawn_local(Rc::clone(&exporter).run());
            let api = api.map(|(api, bound)| {
                spawn_local(admin::serve(Arc::clone(&api), bound));
                api
            });
            let _ = stopped.await;
            if let Some(api) = api {
                api.settle(GOODBYE).await;
            }
            exporting.abort();
            let _ = exporting.await;
            exporter.settle().await;
        };
        let thread = thread::Builder::new().name("ops".into()).spawn(move || {
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime.block_on(work()),
                Err(error) => tracing::error!(%error, "the ops listener cannot be served"),
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread), files })
    }

    /// Removes the files of its sockets; from then on a successor may bind the same paths.
    pub(super) fn remove_files(&mut self) {
        for file in self.files.drain(..) {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.remove_files();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reloads when a file holds something else, and holds it for two looks: it may still be being written. A change that waits for its
/// store is tried again.
async fn look(reloader: Arc<Reloader>) {
    let mut changed = None;
    loop {
        sleep(LOOK).await;
        let looking = spawn_blocking({
            let (reloader, last) = (Arc::clone(&reloader), changed.take());
            move || {
                reloader.tidy();
                if !reloader.has_sources() {
                    return None;
                }
                let tried = reloader.tried();
                let now = tried.again();
                let is_settled = if now == tried { reloader.is_retry_due() } else { last.as_ref() == Some(&now) };
                if is_settled {
                    reloader.reload(Trigger::File);
                    return None;
                }
                (now != tried).then_some(now)
            }
        });
        changed = looking.await.ok().flatten();
    }
}
