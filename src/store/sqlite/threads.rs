//! The threads that own the connections: one writes, two read, and one counts if there is anything to count. Work comes by channel and its answer goes back by channel,
//! so that no runtime's thread ever waits for the disk.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::StoreError;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Where work is sent. The threads end when this is dropped and the last piece is done.
pub(super) struct Threads {
    writes: Sender<Job>,
    reads: Sender<Job>,
    /// Begun with the first piece of its work.
    counts: OnceLock<Sender<Job>>,
}

impl Threads {
    pub(super) fn start(write: Connection, read: [Connection; 2]) -> std::io::Result<Self> {
        let (writes, queue) = channel();
        spawn("store-write", write, Arc::new(Mutex::new(queue)))?;
        let (reads, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for connection in read {
            spawn("store-read", connection, Arc::clone(&queue))?;
        }
        Ok(Self { writes, reads, counts: OnceLock::new() })
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.writes, work).await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        ask(&self.reads, work).await
    }

    /// What waits for another process's write must not keep anybody from reading; nor need it survive a loss of power.
    pub(super) async fn count<T: Send + 'static>(
        &self,
        connect: impl FnOnce() -> Result<Connection, StoreError>,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let counts = if let Some(counts) = self.counts.get() {
            counts
        } else {
            let (counts, queue) = channel();
            spawn("store-count", connect()?, Arc::new(Mutex::new(queue))).map_err(|error| StoreError::Unavailable(error.to_string()))?;
            self.counts.get_or_init(|| counts)
        };
        ask(counts, work).await
    }
}

async fn ask<T: Send + 'static>(
    jobs: &Sender<Job>,
    work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let gone = || StoreError::Unavailable("the store's thread has ended".into());
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| drop(reply.send(work(connection))));
    jobs.send(job).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn spawn(name: &str, mut connection: Connection, jobs: Arc<Mutex<Receiver<Job>>>) -> std::io::Result<()> {
    let next = move || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
    thread::Builder::new().name(name.into()).spawn(move || {
        while let Ok(job) = next() {
            job(&mut connection);
        }
    })?;
    Ok(())
}
