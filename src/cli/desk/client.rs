//! Speaks to the management API of a running instance: by its Unix socket, on this machine, or by TLS. The token is never sent in
//! the clear to another machine, and neither it nor a body is ever told.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::{Exit, Failure};
use crate::tls;

/// How long it may take to reach the instance.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, beside what is waited for.
const ANSWER: Duration = Duration::from_secs(30);
/// Largest answer read.
const ANSWER_MAX: usize = 64 << 20;

/// A client of one instance. Its connection is kept between requests.
pub(super) struct Client {
    place: Place,
    /// What it calls the instance.
    host: HeaderValue,
    authorization: HeaderValue,
    connection: RefCell<Option<SendRequest<Full<Bytes>>>>,
    runtime: Runtime,
}

/// Where an instance is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Tcp { host: String, port: u16, is_tls: bool },
}

/// What both kinds of connections are.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Client {
    /// For `unix:/path`, `http://127.0.0.1:9902`, `https://admin.example`.
    ///
    /// # Errors
    /// It is no such place; the token cannot be read.
    pub(super) fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let place = Place::parse(url).map_err(|why| Exit::Usage.because(format!("--admin: {why}")))?;
        let host = match &place {
            Place::Socket(_) => "localhost".to_owned(),
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
        };
        let failed = |error: String| Exit::Failed.because(error);
        Ok(Self {
            place,
            host: HeaderValue::try_from(host).map_err(|error| failed(error.to_string()))?,
            authorization: authorization(token_file)?,
            connection: RefCell::new(None),
            runtime: Builder::new_current_thread().enable_all().build().map_err(|error| failed(error.to_string()))?,
        })
    }

    /// Asks, and returns what is answered where that is no refusal; null where nothing is.
    ///
    /// # Errors
    /// Nobody answers; a refusal, with its exit code.
    pub(super) fn ask(&self, method: Method, target: &str, body: Option<&Value>, patience: Duration) -> Result<Value, Failure> {
        let body = body.map(|body| serde_json::to_vec(body).unwrap_or_default());
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1{target}"))
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.unwrap_or_default()))
            .map_err(|error| Exit::Usage.because(error.to_string()))?;
        let exchange =
            async { timeout(ANSWER + patience, self.exchange(request)).await.unwrap_or_else(|_| Err("it does not answer".into())) };
        let (status, content) = self.runtime.block_on(exchange).map_err(|why| self.unreachable(&why))?;
        if status.is_success() {
            let read = if content.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&content) };
            return read.map_err(|_| self.unreachable("what answers is no management API"));
        }
        Err(refused(status, &content).unwrap_or_else(|| self.unreachable(&format!("it answers {status}: is that a management API?"))))
    }

    fn unreachable(&self, why: &str) -> Failure {
        let place = match &self.place {
            Place::Socket(path) => format!("unix:{}", path.display()),
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
        };
        Exit::Unreachable.because(format!("the management API at {place}: {why}"))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
        let mut kept = self.connection.borrow_mut().take();
        if let Some(sender) = &mut kept
            && sender.ready().await.is_err()
        {
            kept = None;
        }
        let mut sender = match kept {
            Some(sender) => sender,
            None => timeout(CONNECT, self.place.connect()).await.map_err(|_| "it cannot be reached in time".to_owned())??,
        };
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let content = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(|error| error.to_string())?;
        *self.connection.borrow_mut() = Some(sender);
        Ok((status, content.to_bytes()))
    }
}

impl Place {
    fn parse(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Self::Socket(PathBuf::from(path)));
        }
        let wrong = || format!("`{url}` is none of unix:/path, http://127.0.0.1:9902, https://admin.example");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|_| matches!(uri.path(), "" | "/") && uri.query().is_none()).ok_or_else(wrong)?.to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = bare == "localhost" || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if !is_tls && !is_here {
            return Err(format!("`{url}` would send the token in the clear: https, or an address of this machine"));
        }
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self::Tcp { host, port, is_tls })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream: Box<dyn Stream> = match self {
            Self::Socket(path) => Box::new(UnixStream::connect(path).await.map_err(|error| error.to_string())?),
            Self::Tcp { host, port, is_tls } => {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let stream = TcpStream::connect((bare, *port)).await.map_err(|error| error.to_string())?;
                if *is_tls { Box::new(shake_hands(bare, stream).await?) } else { Box::new(stream) }
            }
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// By the certificate authorities of this system; `SSL_CERT_FILE` names others.
async fn shake_hands(host: &str, stream: TcpStream) -> Result<impl Stream + 'static, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let mut config = tls::client(Path::new(""))?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())
}

/// The first line of the file: as for those of the instance, the newest is the first.
fn authorization(file: Option<&Path>) -> Result<HeaderValue, Failure> {
    let file = file.ok_or_else(|| Exit::Usage.because("--admin needs --admin-token-file: a token of [[admin.tokens]]"))?;
    let failed = |why: String| Exit::Failed.because(format!("--admin-token-file {}: {why}", file.display()));
    let content = Zeroizing::new(std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?);
    let token = content.lines().map(str::trim).find(|line| !line.is_empty()).ok_or_else(|| failed("it is empty".into()))?;
    let line = SecretString::from(format!("Bearer {token}"));
    let mut value = HeaderValue::try_from(line.expose_secret()).map_err(|_| failed("it holds no token".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A refusal of the management API, as the same work at the store would have failed.
fn refused(status: StatusCode, content: &[u8]) -> Option<Failure> {
    let problem: Value = serde_json::from_slice(content).ok()?;
    let detail = problem.get("detail")?.as_str()?;
    let exit = match status.as_u16() {
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        409 => Exit::Conflict,
        400 | 413..=422 => Exit::Usage,
        503 => Exit::Unreachable,
        _ => Exit::Failed,
    };
    Some(exit.because(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_this_machine_or_by_tls() {
        let tcp = |host: &str, port, is_tls| Ok(Place::Tcp { host: host.into(), port, is_tls });
        assert_eq!(Place::parse("unix:/run/sidegate/admin.sock"), Ok(Place::Socket("/run/sidegate/admin.sock".into())));
        assert_eq!(Place::parse("http://127.0.0.1:9902"), tcp("127.0.0.1", 9902, false));
        assert_eq!(Place::parse("http://[::1]:9902/"), tcp("[::1]", 9902, false));
        assert_eq!(Place::parse("http://localhost"), tcp("localhost", 80, false));
        assert_eq!(Place::parse("https://admin.example"), tcp("admin.example", 443, true));
        for bad in ["http://admin.example:9902", "http://10.0.0.1", "http://localhost.evil.example"] {
            assert!(Place::parse(bad).unwrap_err().contains("in the clear"), "{bad}");
        }
        for bad in ["", "admin.example", "ftp://x", "https://admin.example/admin", "https://admin.example?x", "127.0.0.1:9902"] {
            assert!(Place::parse(bad).unwrap_err().contains("none of"), "{bad}");
        }
    }
}
