//! Who manages keys: the store and its lifecycle, on a runtime that goes on between calls as a management process does.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sidegate::clock::{Clock, instant};
use sidegate::config::problem::Problems;
use sidegate::config::sections::Config;
use sidegate::fleet::{Receipt, confirm};
use sidegate::key::digest::Peppers;
use sidegate::key::lifecycle::{Lifecycle, LifecycleError};
use sidegate::key::rules::Rules;
use sidegate::store::change::{Changed, Position};
use sidegate::store::{self, Store, StoreError};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::node::{AGREEMENT, agreed};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Desk {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) store: Arc<dyn Store>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    pub(crate) fn open(config: &Config) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || drop(runtime.block_on(stopped)));
        let store = handle.block_on(store::open(&config.store, &Clock::System)).unwrap().store;
        let rules = Rules::compile(config, &mut Problems::default()).unwrap();
        let lifecycle =
            Lifecycle::new(Arc::clone(&store), Arc::new(rules), Peppers::default(), Clock::System, sidegate::audit::Actor::local("test"));
        Self { lifecycle, store, handle, stop: Some(stop), thread: Some(thread) }
    }

    /// Runs a change to its end.
    #[track_caller]
    pub(crate) fn run<T, E: std::fmt::Debug>(&self, change: impl Future<Output = Result<T, E>>) -> T {
        self.try_run(change).unwrap()
    }

    pub(crate) fn try_run<T, E>(&self, change: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        self.handle.block_on(change)
    }

    /// Runs a change until the store takes it; how often it was not there.
    pub(crate) fn insist<T>(&self, mut change: impl AsyncFnMut(&Lifecycle) -> Result<T, LifecycleError>) -> (T, usize) {
        let began = instant();
        for failures in 0.. {
            match self.handle.block_on(change(&self.lifecycle)) {
                Ok(done) => return (done, failures),
                Err(LifecycleError::Store(StoreError::Unavailable(why))) => assert!(began.elapsed() < AGREEMENT, "never taken: {why}"),
                Err(error) => panic!("{error}"),
            }
            thread::park_timeout(PAUSE);
        }
        unreachable!()
    }

    /// Waits until every sidecar has applied all that was changed, by whomever.
    #[track_caller]
    pub(crate) fn wait_for_everybody(&self, sidecars: usize) -> Receipt {
        // Something new, so that its receipt is one of a reader that has begun.
        let end = self.run(self.store.announce(&[Changed::NewKeys]));
        agreed("all have written themselves down", || self.run(self.store.instances()).len() >= sidecars);
        self.confirmed(end, sidecars)
    }

    /// The receipt of what was changed last.
    #[track_caller]
    pub(crate) fn receipt(&self, sidecars: usize) -> Receipt {
        self.confirmed(self.lifecycle.position(), sidecars)
    }

    #[track_caller]
    fn confirmed(&self, position: Position, sidecars: usize) -> Receipt {
        let receipt = self.run(confirm(&*self.store, position, super::PATIENCE));
        assert_eq!((receipt.confirmed, receipt.missing.len()), (sidecars, 0), "{receipt:?}");
        receipt
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.stop.take());
        let _ = self.thread.take().unwrap().join();
    }
}
