//! Asks an authorization server for a document: one request on one connection, over TLS unless it is on this machine. Redirects are
//! not followed, proxies not used, encodings not undone, and what takes too long or is too much is given up.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::tls;

/// How long all of it may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Largest document, bytes.
const DOCUMENT_MAX: usize = 1 << 20;
/// Largest head of an answer, bytes.
const HEAD_MAX: usize = 64 << 10;

/// Where a document is.
#[derive(Debug)]
pub(super) struct Endpoint {
    url: String,
    host: String,
    port: u16,
    authority: HeaderValue,
    target: Uri,
    /// `None` on this machine.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Endpoint {
    /// From an absolute URL.
    ///
    /// # Errors
    /// Why nothing is asked there.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{url}` is not an https URL")),
        };
        let authority = uri.authority().ok_or_else(|| format!("`{url}` names no host"))?;
        if authority.as_str().contains('@') {
            return Err("a URL with a user name: it would be sent to nobody".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_here = host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        if !is_tls && !is_here {
            return Err("http is for this machine only: anybody on the way could answer in its place".into());
        }
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is neither a host name nor an address"))?;
            Some((Arc::new(tls::client(Path::new(""))?.with_no_client_auth()), name))
        } else {
            None
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().try_into().map_err(|_| format!("`{url}` names no host"))?,
            target: target.parse().map_err(|_| format!("`{url}` is not a URL"))?,
            url: url.to_owned(),
            host,
            tls,
        })
    }

    /// As it was written.
    #[must_use]
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The JSON document that is there now.
    ///
    /// # Errors
    /// Why it is not to be had.
    pub(super) async fn document(&self) -> Result<Bytes, String> {
        self.ask_in_time(Request::new(Full::default())).await
    }

    /// The JSON document that answers a form.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn answer_to(&self, form: Bytes, authorization: &HeaderValue) -> Result<Bytes, String> {
        let mut request = Request::new(Full::new(form));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.ask_in_time(request).await
    }

    async fn ask_in_time(&self, request: Request<Full<Bytes>>) -> Result<Bytes, String> {
        timeout(PATIENCE, self.ask(request)).await.map_err(|_| format!("no whole answer within {} s", PATIENCE.as_secs()))?
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Bytes, String> {
        let stream = self.connect().await.map_err(|error| format!("cannot connect: {error}"))?;
        match &self.tls {
            None => self.exchange(stream, request).await,
            Some((config, name)) => {
                let connected = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
                self.exchange(connected.map_err(|error| format!("TLS: {error}"))?, request).await
            }
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            if self.tls.is_none() && !address.ip().is_loopback() {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Bytes, String> {
        *request.uri_mut() = self.target.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, application/jwk-set+json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("sidegate/", env!("CARGO_PKG_VERSION"))));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
            check(&answer)?;
            let body = Limited::new(answer.into_body(), DOCUMENT_MAX).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| format!("the answer breaks off or is too large: {error}"))
        };
        // The connection ends with the exchange, or the exchange with the connection's end.
        tokio::pin!(connection, exchange);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(format!("no answer: {error}")),
            },
        }
    }
}

/// Only a plain 200 with JSON is an answer.
fn check(answer: &hyper::Response<Incoming>) -> Result<(), String> {
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let text = |name| answer.headers().get(name).map(|value| String::from_utf8_lossy(HeaderValue::as_bytes(value)).to_ascii_lowercase());
    if text(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err("a Content-Encoding that was not asked for".into());
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    Err(format!("Content-Type `{}` is not JSON", kind.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_asked_but_on_this_machine() {
        for good in ["https://auth.example/jwks.json", "http://127.0.0.1:1/x?y", "http://localhost/", "http://[::1]:9"] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "auth.example",
            "http://auth.example/",
            "http://127.0.0.1.example/",
            "ftp://127.0.0.1/",
            "https://a@b/",
            "file:///etc/passwd",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
