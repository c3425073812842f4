//! A worker's connections to the upstreams, whatever these speak ([`Pools`]).
//! A request is repeated only where the upstream cannot have acted on it, once, on another connection.

use std::cell::Cell;
use std::error::Error as StdError;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, response};
use http_body::Body;

pub use super::answer::{Answer, Broken};
pub use super::wire::Wire;
use super::{Protocol, Target, Upstreams, http1, http2};
use crate::forward::{Forward, Head};
use crate::rejection::{Refusal, Rejection};

/// What a request's body must be to be sent.
pub trait Payload: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Default + Unpin + 'static {}

impl<B> Payload for B where B: Body<Data = Bytes, Error: Into<Box<dyn StdError + Send + Sync>>> + Default + Unpin + 'static {}

/// One worker's connections.
#[derive(Debug)]
pub struct Pools<B: Payload> {
    pools: Vec<Pool<B>>,
}

#[derive(Debug)]
enum Pool<B: Payload> {
    Http1(Rc<http1::Pool<B>>),
    Http2(Rc<http2::Pool<B>>),
}

/// What came of asking for another protocol.
#[derive(Debug)]
pub enum Switch<B: Payload> {
    /// 101: the connection, and what the upstream has sent on it already.
    Switched(response::Parts, Wire, Bytes),
    /// An ordinary answer.
    Answered(Response<Answer<B>>),
}

impl<B: Payload> Pools<B> {
    /// Pools of one of `workers` workers, swept every `period`.
    #[must_use]
    pub fn new(upstreams: &Upstreams, workers: usize, period: Duration) -> Self {
        Self { pools: Vec::new() }.follow(upstreams, workers, period)
    }

    /// Pools of what the upstreams are now: those that are the same keep their connections.
    #[must_use]
    pub fn follow(&self, upstreams: &Upstreams, workers: usize, period: Duration) -> Self {
        let known = |target: &Arc<Target>| self.pools.iter().find(|pool| Arc::ptr_eq(pool.target(), target)).map(Pool::share);
        let pool = |target: &Arc<Target>| known(target).unwrap_or_else(|| Pool::new(target, workers, period));
        Self { pools: upstreams.targets.iter().map(pool).collect() }
    }

    /// Sends a request and waits for the response's head; of `body`, which is taken, `progress` tells how far it is sent.
    ///
    /// # Errors
    /// `upstream_unavailable`, `upstream_timeout`, `overloaded`.
    pub async fn send(&self, forward: &mut Forward, body: &mut B, progress: &Cell<u64>) -> Result<Response<Answer<B>>, Refusal> {
        match (self.pools.get(forward.upstream), &mut forward.head) {
            (Some(Pool::Http1(pool)), Head::Http1(head)) => {
                let limit = forward.response_timeout.unwrap_or(pool.target.response_timeout);
                let answer = pool.send(head, body, limit, progress).await;
                answer.map(|answer| answer.map(Into::into))
            }
            (Some(Pool::Http2(pool)), Head::Http2(head)) => {
                let limit = forward.response_timeout.unwrap_or(pool.target.response_timeout);
                Box::pin(pool.send(head, body, limit, progress)).await
            }
            (Some(Pool::Http1(_) | Pool::Http2(_)) | None, _) => Err(Rejection::Internal.because("the permit names no upstream")),
        }
    }

    /// Sends a request that asks for another protocol, on a connection of its own.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn switch(&self, forward: Forward) -> Result<Switch<B>, Refusal> {
        match (self.pools.get(forward.upstream), forward.head) {
            (Some(Pool::Http1(pool)), Head::Http1(head)) => {
                pool.switch(head, forward.response_timeout.unwrap_or(pool.target.response_timeout)).await
            }
            (Some(Pool::Http1(_) | Pool::Http2(_)) | None, _) => Err(Rejection::Internal.because("no upstream that switches protocols")),
        }
    }

    /// Closes connections that were idle for too long or that the upstream closed.
    pub fn sweep(&self) {
        for pool in &self.pools {
            match pool {
                Pool::Http1(pool) => pool.sweep(),
                Pool::Http2(pool) => pool.sweep(),
            }
        }
    }

    /// Closes every idle connection.
    pub fn clear(&self) {
        for pool in &self.pools {
            match pool {
                Pool::Http1(pool) => pool.clear(),
                Pool::Http2(pool) => pool.clear(),
            }
        }
    }
}

impl<B: Payload> Pool<B> {
    fn new(target: &Arc<Target>, workers: usize, period: Duration) -> Self {
        // Rounded down: a connection must go before the upstream closes it.
        let idle_sweeps = u32::try_from(target.idle_timeout.as_millis() / period.as_millis().max(1)).unwrap_or(u32::MAX);
        match target.protocol {
            Protocol::Http1 => {
                Self::Http1(Rc::new(http1::Pool::new(target, target.idle_connections.div_ceil(workers.max(1)), idle_sweeps)))
            }
            Protocol::Http2 => Self::Http2(Rc::new(http2::Pool::new(target, idle_sweeps))),
        }
    }

    fn target(&self) -> &Arc<Target> {
        match self {
            Self::Http1(pool) => &pool.target,
            Self::Http2(pool) => &pool.target,
        }
    }

    /// The same pool once more.
    fn share(&self) -> Self {
        match self {
            Self::Http1(pool) => Self::Http1(Rc::clone(pool)),
            Self::Http2(pool) => Self::Http2(Rc::clone(pool)),
        }
    }
}

/// Methods that ask for no change (RFC 9110 §9.2.1), of those that are forwarded.
pub(super) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

pub(super) fn describe(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
