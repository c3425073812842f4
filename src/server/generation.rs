//! What a worker's requests are judged by and sent over: the snapshot, and the worker's upstream connections that belong to it.
//! Each request takes the current one and keeps it to its end; what that costs is one load of a shared pointer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::body::Upload;
use crate::app::Snapshot;
use crate::forward::upstream::pool::Pools;
use crate::usage::Sheet;

/// A snapshot as one worker uses it.
#[derive(Debug)]
pub struct Generation {
    /// The snapshot.
    pub app: Arc<Snapshot>,
    /// What is gathered of its requests.
    pub usage: Arc<Sheet>,
    /// Connections to its upstreams.
    pub pools: Pools<Upload>,
}

/// The current generation of one worker.
#[derive(Debug)]
pub struct Generations {
    app: Arc<ArcSwap<Snapshot>>,
    workers: usize,
    period: Cell<Duration>,
    current: RefCell<Rc<Generation>>,
}

impl Generation {
    fn new(app: Arc<Snapshot>, pools: Pools<Upload>) -> Self {
        let usage = app.usage.open(app.last_used_resolution);
        Self { app, usage, pools }
    }
}

impl Generations {
    /// Follows `app` for one of `workers` workers, which sweeps every `period`.
    #[must_use]
    pub fn new(app: Arc<ArcSwap<Snapshot>>, workers: usize, period: Duration) -> Self {
        let snapshot = app.load_full();
        let pools = Pools::new(&snapshot.upstreams, workers, period);
        Self { app, workers, period: Cell::new(period), current: RefCell::new(Rc::new(Generation::new(snapshot, pools))) }
    }

    /// What a request that begins now belongs to.
    #[must_use]
    pub fn current(&self) -> Rc<Generation> {
        let latest = self.app.load();
        let known = Rc::clone(&self.current.borrow());
        if Arc::ptr_eq(&latest, &known.app) {
            return known;
        }
        let app = Arc::clone(&latest);
        let pools = known.pools.follow(&app.upstreams, self.workers, self.period.get());
        self.replace(Generation::new(app, pools))
    }

    /// The worker sweeps at another pace: idle connections are counted anew.
    pub fn set_period(&self, period: Duration) {
        if self.period.replace(period) != period {
            let app = self.app.load_full();
            let pools = Pools::new(&app.upstreams, self.workers, period);
            self.replace(Generation::new(app, pools));
        }
    }

    fn replace(&self, generation: Generation) -> Rc<Generation> {
        let generation = Rc::new(generation);
        *self.current.borrow_mut() = Rc::clone(&generation);
        generation
    }
}
