//! A listener as one worker serves it: its connections' pulse, their welcome, and how it ends.
//! What is said on a connection is not its concern.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Registered;
use crate::clock::instant;
use crate::net::Peer;
use crate::server::connection;
use crate::server::door::{Door, Listener, Seat, Terms};
use crate::server::life::{Life, Pulse, Stage, Timeouts};
use crate::server::socket::Socket;
use crate::telemetry::tally::Tally;

/// How long an idle connection is kept after answers have begun to close theirs: whoever is about to send another request has
/// sent it by then, or learns from the answer that it was the last.
const GRACE: Duration = Duration::from_secs(1);

/// A listener as one worker serves it.
pub(super) struct Entrance {
    pub(super) listener: Arc<Listener>,
    /// Its own: a listener may end before the worker does.
    pub(super) pulse: Rc<Pulse>,
    pub(super) timeouts: Cell<Timeouts>,
    pub(super) tally: RefCell<Arc<Tally>>,
    pub(super) closing: Notify,
    /// Since when every answer closes its connection.
    left: Cell<Option<Instant>>,
    closed: Cell<bool>,
}

impl Entrance {
    pub(super) fn new(listener: Arc<Listener>, pulse: Rc<Pulse>, timeouts: Timeouts, tally: Arc<Tally>) -> Rc<Self> {
        let (timeouts, tally) = (Cell::new(timeouts), RefCell::new(tally));
        Rc::new(Self { listener, pulse, timeouts, tally, closing: Notify::new(), left: Cell::default(), closed: Cell::default() })
    }

    pub(super) fn is_of(&self, door: &Door) -> bool {
        Arc::ptr_eq(&self.listener, &door.listener)
    }

    /// How far its connections are.
    pub(super) fn enter(&self, stage: Stage) {
        if stage >= Stage::Leave && self.left.get().is_none() {
            self.left.set(Some(instant()));
        }
        if stage == Stage::Stop {
            self.closing.notify_one();
        }
        self.pulse.enter(stage);
    }

    /// Accepts no more. How long its idle connections are kept yet; `None` = it was closed before.
    pub(super) fn close(&self) -> Option<Duration> {
        self.enter(Stage::Leave);
        self.closing.notify_one();
        let left_for = self.left.get().map(|left| left.elapsed()).unwrap_or_default();
        (!self.closed.replace(true)).then(|| GRACE.saturating_sub(left_for))
    }

    /// Serves a connection that has a place: who it is, whether there is room for another of theirs, TLS, requests.
    pub(super) async fn welcome(
        self: Rc<Self>,
        registered: Registered,
        mut socket: Socket,
        mut peer: Peer,
        terms: Arc<Terms>,
        life: Rc<Life>,
    ) {
        let worker = &registered.worker;
        if terms.proxy_protocol {
            match worker.introduced(&mut socket, peer).await {
                Ok(client) => peer = client,
                Err(error) => {
                    tracing::debug!(listener = %terms.name, %peer, %error, "PROXY preamble refused");
                    return self.tally.borrow().unusable.add(1);
                }
            }
        }
        let session = worker.session(&self, &terms, life, peer);
        let limit = terms.limits.connections_per_ip;
        let seat = match peer {
            Peer::Ip(ip) if limit > 0 => match Seat::take(&self.listener, ip, limit) {
                None => return Rc::clone(worker).turn_away(socket, session, "connections_per_ip").await,
                seat => seat,
            },
            Peer::Ip(_) | Peer::Unix => None,
        };
        let socket = match &terms.tls {
            None => Some(socket),
            Some(acceptor) => connection::handshake(socket, acceptor, terms.limits.handshake_timeout.0).await,
        };
        match socket {
            Some(socket) => connection::serve(socket, session, terms.speech).await,
            None => self.tally.borrow().unusable.add(1),
        }
        drop(seat);
    }
}
