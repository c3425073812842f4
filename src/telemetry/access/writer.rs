//! Lines go to a bounded buffer; a thread writes it out. A worker never waits for the file: a full buffer drops and counts.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Bytes that may wait.
const BUFFER_MAX: usize = 4 << 20;
/// How long lines gather before they are written, so that a busy worker wakes the thread seldom.
const GATHER: Duration = Duration::from_millis(10);
/// Largest buffer that is kept for the lines to come.
const KEPT: usize = 256 << 10;

/// The buffer of an access log, and the thread behind it.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wanted: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    closed: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(output: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), wanted: Condvar::new(), dropped: AtomicU64::new(0) });
        let thread = Builder::new().name("access-log".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(output)
        })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Adds a line, with its newline.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.lines.len() + line.len() > BUFFER_MAX {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if first {
            self.shared.wanted.notify_one();
        }
    }

    /// Lines that found the buffer full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes what waits and ends the thread.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wanted.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: Box<dyn Write + Send>) {
        let (mut failing, mut lines) = (false, Vec::new());
        loop {
            let state = self.wanted.wait_while(self.lock(), |state| state.lines.is_empty() && !state.closed);
            let state = state.unwrap_or_else(PoisonError::into_inner);
            let gathering = self.wanted.wait_timeout_while(state, GATHER, |state| !state.closed);
            let (mut state, _) = gathering.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut state.lines, &mut lines);
            let closed = state.closed;
            drop(state);
            let result = output.write_all(&lines).and_then(|()| output.flush());
            if let Err(error) = &result
                && !failing
            {
                tracing::error!(%error, "the access log cannot be written");
            }
            failing = result.is_err();
            if lines.capacity() > KEPT {
                lines = Vec::new();
            }
            lines.clear();
            if closed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_in_order_before_the_log_closes() {
        let kept = Kept::default();
        let writer = Writer::start(Box::new(kept.clone())).unwrap();
        let expected = (0..10_000).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
        for line in expected.split_inclusive('\n') {
            writer.push(line.as_bytes());
        }
        writer.close();
        assert_eq!(writer.dropped(), 0);
        assert!(*kept.0.lock().unwrap() == expected.as_bytes());
    }

    #[test]
    fn a_stuck_output_drops_lines_and_counts_them_but_never_blocks() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let writer = Writer::start(Box::new(Stuck(stuck))).unwrap();
        let line = vec![b'x'; 64 << 10];
        for _ in 0..200 {
            writer.push(&line);
        }
        assert!(writer.dropped() > 0);
        drop(release);
        writer.close();
    }
}
