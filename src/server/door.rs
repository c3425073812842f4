//! A listener of the process: its bound address, and what is said of it now. An address that a reload keeps keeps its socket;
//! only what is said of it changes.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;

use super::bind::Bound;
use super::connection::Speech;
use crate::config::sections::ListenerLimits;
use crate::net::throttle_unit;

/// What the configuration says of a listener.
pub struct Terms {
    /// Its name.
    pub name: Arc<str>,
    /// Its address, as it is written.
    pub address: String,
    /// TLS, if it speaks that.
    pub tls: Option<TlsAcceptor>,
    /// When its certificate ends, in seconds since the Unix epoch.
    pub expires: Option<i64>,
    /// Whether each connection begins with the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether gateways ask there, and forward themselves.
    pub decides: bool,
    /// What it speaks.
    pub speech: Speech,
    /// Its bounds.
    pub limits: ListenerLimits,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms").field("name", &self.name).field("address", &self.address).finish_non_exhaustive()
    }
}

/// A listener, apart from its socket: connections outlive that.
#[derive(Debug)]
pub struct Listener {
    /// What is said of it now.
    pub terms: ArcSwap<Terms>,
    open: AtomicUsize,
    /// Open connections by client, where they are limited.
    seats: Mutex<HashMap<IpAddr, usize>>,
}

impl Listener {
    /// A listener on these terms.
    #[must_use]
    pub fn new(terms: Arc<Terms>) -> Arc<Self> {
        Arc::new(Self { terms: ArcSwap::new(terms), open: AtomicUsize::new(0), seats: Mutex::default() })
    }

    /// Open connections of all workers.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bound address. Workers hold it only as long as they accept: dropped by all, nothing listens there any more.
#[derive(Debug)]
pub struct Door {
    /// Who stands behind it.
    pub listener: Arc<Listener>,
    /// The socket.
    pub bound: Bound,
    // Last: closed after the socket.
    _open: Sender<()>,
}

impl Door {
    /// A door to `listener`; whoever holds the other end of `open` learns when it is closed.
    #[must_use]
    pub fn new(listener: Arc<Listener>, bound: Bound, open: Sender<()>) -> Arc<Self> {
        Arc::new(Self { listener, bound, _open: open })
    }
}

/// One of the open connections of a listener.
#[derive(Debug)]
pub struct Place(Arc<Listener>);

impl Place {
    /// Takes one.
    #[must_use]
    pub fn take(listener: &Arc<Listener>) -> Self {
        listener.open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(listener))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of the open connections of a client; all of an IPv6 /64 are one client.
#[derive(Debug)]
pub struct Seat {
    listener: Arc<Listener>,
    client: IpAddr,
}

impl Seat {
    /// Takes one of `limit`; `None` = all are taken.
    #[must_use]
    pub fn take(listener: &Arc<Listener>, client: IpAddr, limit: usize) -> Option<Self> {
        let client = throttle_unit(client);
        let mut seats = listener.seats();
        let taken = seats.entry(client).or_default();
        if *taken >= limit {
            return None;
        }
        *taken += 1;
        drop(seats);
        Some(Self { listener: Arc::clone(listener), client })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.listener.seats();
        if let Some(taken) = seats.get_mut(&self.client) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.client);
            }
        }
    }
}
