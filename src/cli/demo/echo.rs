//! The API of the demo: it knows nothing of keys and answers with what it was told of the caller, as JSON.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// Starts it on a free port of loopback, in the runtime that polls this.
pub(super) async fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            // A caller that leaves in the middle is its own affair.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let told = |name: &str| name.starts_with("x-tenant") || name.starts_with("x-auth") || name == "authorization" || name == "x-api-key";
    let headers: Map<String, Value> = request
        .headers()
        .iter()
        .filter(|(name, _)| told(name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let seen = json!({ "method": request.method().as_str(), "path": request.uri().path(), "headers": headers });
    let mut response = Response::new(Full::new(Bytes::from(seen.to_string())));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}
