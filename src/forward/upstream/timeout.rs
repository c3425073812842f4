//! Waiting for a response head: the time counts from the last byte of the request's body, so that a slow upload is no slow answer.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits for `answer` as long as `progress` changes, and `limit` from then on. `None` = too long.
pub(super) async fn while_progressing<T>(limit: Duration, progress: &Cell<u64>, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    let mut timer = std::pin::pin!(sleep(limit));
    let mut seen = progress.get();
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer),
            () = &mut timer => {
                if progress.get() == seen {
                    return None;
                }
                seen = progress.get();
                timer.as_mut().reset(Instant::now() + limit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_comes_is_given_up_at_the_limit() {
        let start = Instant::now();
        assert_eq!(while_progressing(LIMIT, &Cell::new(0), std::future::pending::<()>()).await, None);
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_that_goes_on_is_waited_for() {
        let progress = Cell::new(0);
        let upload = async {
            for _ in 0..10 {
                sleep(LIMIT / 2).await;
                progress.set(progress.get() + 1);
            }
        };
        assert_eq!(while_progressing(LIMIT, &progress, upload).await, Some(()));
    }
}
