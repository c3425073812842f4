//! Waiting for a response head: the time counts from the last byte of the request's body, so that a slow upload is no slow
//! answer. All who wait for one upstream share a timer, which is looked at when the first of them may be late: an answer
//! that comes in time, and so nearly all, costs none.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

/// Nobody waits longer.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// When each of those who wait is late.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    waits: RefCell<Slab<Wait>>,
    /// When the timer's task looks next; `None` = there is no such task.
    next: Cell<Option<Instant>>,
    /// That has become earlier.
    earlier: Notify,
}

#[derive(Debug)]
struct Wait {
    deadline: Instant,
    waker: Waker,
    passed: bool,
}

impl Deadlines {
    /// Waits for `answer` as long as `progress` changes, and `limit` from then on. `None` = too long.
    pub(super) async fn while_progressing<T>(
        self: &Rc<Self>,
        limit: Duration,
        progress: &Cell<u64>,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        let mut answer = pin!(answer);
        let mut seen = progress.get();
        let mut place = None;
        poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answer));
            }
            match &place {
                None => place = Some(self.wait(limit, cx)),
                Some(waiting) if !waiting.has_passed(cx) => {}
                Some(_) if progress.get() == seen => return Poll::Ready(None),
                Some(_) => {
                    seen = progress.get();
                    place = Some(self.wait(limit, cx));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn wait(self: &Rc<Self>, limit: Duration, cx: &Context<'_>) -> Place<'_> {
        let deadline = Instant::now() + limit.min(FOR_EVER);
        let index = self.waits.borrow_mut().insert(Wait { deadline, waker: cx.waker().clone(), passed: false });
        match self.next.get() {
            Some(next) if next <= deadline => {}
            Some(_) => {
                self.next.set(Some(deadline));
                self.earlier.notify_one();
            }
            None => {
                self.next.set(Some(deadline));
                spawn_local(Rc::clone(self).watch());
            }
        }
        Place { deadlines: self, index }
    }

    /// Looks when the first may be late, until nobody waits.
    async fn watch(self: Rc<Self>) {
        while let Some(next) = self.next.get() {
            tokio::select! {
                () = sleep_until(next) => self.next.set(self.look(Instant::now())),
                () = self.earlier.notified() => {}
            }
        }
    }

    /// Wakes who is late; when the next one will be.
    fn look(&self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (_, wait) in self.waits.borrow_mut().iter_mut().filter(|(_, wait)| !wait.passed) {
            if wait.deadline <= now {
                wait.passed = true;
                wait.waker.wake_by_ref();
            } else {
                next = Some(next.map_or(wait.deadline, |next| next.min(wait.deadline)));
            }
        }
        next
    }
}

/// A place among those who wait.
struct Place<'a> {
    deadlines: &'a Deadlines,
    index: usize,
}

impl Place<'_> {
    /// Whether it has waited too long; else this task is woken then.
    fn has_passed(&self, cx: &Context<'_>) -> bool {
        let mut waits = self.deadlines.waits.borrow_mut();
        let Some(wait) = waits.get_mut(self.index) else { return true };
        wait.waker.clone_from(cx.waker());
        wait.passed
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.deadlines.waits.borrow_mut().try_remove(self.index);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, LocalOptions};
    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    fn run(scene: impl Future<Output = ()>) {
        Builder::new_current_thread().enable_time().start_paused(true).build_local(LocalOptions::default()).unwrap().block_on(scene);
    }

    async fn never(deadlines: &Rc<Deadlines>, limit: Duration) -> Duration {
        let start = Instant::now();
        assert_eq!(deadlines.while_progressing(limit, &Cell::new(0), std::future::pending::<()>()).await, None);
        start.elapsed()
    }

    #[test]
    fn an_answer_that_never_comes_is_given_up_at_the_limit() {
        run(async {
            let deadlines = Rc::default();
            for _ in 0..3 {
                assert_eq!(never(&deadlines, LIMIT).await, LIMIT);
            }
            assert_eq!((deadlines.waits.borrow().len(), deadlines.next.get()), (0, None), "nothing is left behind");
        });
    }

    #[test]
    fn each_who_waits_has_a_limit_of_their_own() {
        run(async {
            let deadlines = Rc::default();
            let (long, short, shorter) = tokio::join!(never(&deadlines, LIMIT * 3), never(&deadlines, LIMIT * 2), never(&deadlines, LIMIT));
            assert_eq!((long, short, shorter), (LIMIT * 3, LIMIT * 2, LIMIT));
        });
    }

    #[test]
    fn an_upload_that_goes_on_is_waited_for() {
        run(async {
            let progress = Cell::new(0);
            let upload = async {
                for _ in 0..10 {
                    sleep(LIMIT / 2).await;
                    progress.set(progress.get() + 1);
                }
            };
            assert_eq!(Rc::new(Deadlines::default()).while_progressing(LIMIT, &progress, upload).await, Some(()));
        });
    }
}
