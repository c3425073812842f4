//! Exchanges that go on when their client leaves. The worker waits for them as it waits for connections, and for as long.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

use super::{Counts, Life, Pulse};

/// Those of a worker.
#[derive(Debug, Default)]
pub(super) struct Errands {
    running: Cell<usize>,
    ended: Notify,
}

/// One that runs, until it is dropped.
#[derive(Debug)]
pub struct Errand(Rc<Counts>);

impl Life {
    /// An exchange begins that does not end with this life.
    #[must_use]
    pub fn begin_errand(&self) -> Errand {
        let errands = &self.pulse.worker.errands;
        errands.running.set(errands.running.get() + 1);
        Errand(Rc::clone(&self.pulse.worker))
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let errands = &self.0.errands;
        errands.running.set(errands.running.get() - 1);
        errands.ended.notify_one();
    }
}

impl Pulse {
    /// Whether any runs.
    #[must_use]
    pub fn has_errands(&self) -> bool {
        self.worker.errands.running.get() > 0
    }

    /// Waits for the next to end.
    pub async fn errand_ended(&self) {
        self.worker.errands.ended.notified().await;
    }
}
