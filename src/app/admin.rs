//! The admin listener: a Unix socket, loopback, or another address with TLS. What is asked there is for [`crate::admin`].
//! By which certificate and tokens follows the configuration in use; where it listens, the one that the process was started with.

use std::cell::RefCell;
use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse as _;
use hyper::http::StatusCode;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use super::http;
use crate::admin::{Api, Settings};
use crate::net::Peer;
use crate::server::bind::{self, Bound};
use crate::server::socket::Socket;

/// How long a connection may be silent: those who keep theirs open ask again before.
const IDLE: Duration = Duration::from_secs(30);

/// Binds it.
pub(super) fn bind(address: &str, settings: &Settings) -> io::Result<Bound> {
    let bound = bind::bind(address)?;
    match (&bound, bound.address()) {
        // Its group may ask too: a token is needed all the same, and the containers of a pod run as different users.
        (Bound::Unix(_, path), _) => set_permissions(path, Permissions::from_mode(0o660))?,
        (Bound::Tcp(_), Some(at)) if at.ip().to_canonical().is_loopback() || settings.tls.is_some() => {}
        (Bound::Tcp(_), _) => return Err(io::Error::other("this is not loopback, and there is no [admin.tls]")),
    }
    Ok(bound)
}

/// Serves the management API on `bound` until the runtime ends.
pub(super) async fn serve(api: Arc<Api>, bound: Bound) {
    let (asked, tls) = (Arc::clone(&api), Rc::new(RefCell::new(None)));
    let welcome = move |socket, peer| {
        let acceptor = latest(&asked.app().admin, peer, &tls);
        async move {
            let Some(acceptor) = acceptor else { return Some(socket) };
            let stream = acceptor.accept(socket).await.ok()?;
            Some(Socket::Tls(Box::new(stream.into())))
        }
    };
    let answer = move |request, peer| {
        let api = Arc::clone(&api);
        // A task of its own: who leaves ends nothing that was begun, and is written down all the same.
        let answering = spawn_local(async move { api.answer(request, peer).await });
        async move { answering.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()) }
    };
    http::serve("the admin listener", &bound, IDLE, welcome, answer).await;
}

/// By which certificate a connection is welcomed; `None` = it is not encrypted. A listener that was encrypted stays so: one without
/// can be configured for loopback only, and where this one listens changes only by a restart.
fn latest(settings: &Settings, peer: Peer, known: &RefCell<Option<TlsAcceptor>>) -> Option<TlsAcceptor> {
    if matches!(peer, Peer::Unix) {
        return None;
    }
    let mut known = known.borrow_mut();
    if let Some(acceptor) = &settings.tls {
        *known = Some(acceptor.clone());
    }
    known.clone()
}
