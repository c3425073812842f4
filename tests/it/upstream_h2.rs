//! Upstreams that speak HTTP/2: many requests on a connection, as many as allowed; what was not processed is sent again;
//! trailers, streams and resets pass.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::{Barrier, mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};

use crate::support::client::{Client, Request, once};
use crate::support::sidecar::Sidecar;
use crate::support::terminator::Terminator;
use crate::support::wire::Framing;

/// A request that waits for its answer.
struct Asked {
    /// How many came before it, on any connection.
    nth: usize,
    head: Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Asked {
    fn answer(&mut self, body: &str) {
        let mut stream = self.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
    }

    async fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(Ok(bytes)) = self.body.data().await {
            self.body.flow_control().release_capacity(bytes.len()).unwrap();
            all.extend_from_slice(&bytes);
        }
        all
    }
}

type Answering = Pin<Box<dyn Future<Output = ()>>>;

/// An upstream on a thread of its own.
struct Upstream {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<Parts>>>,
    _stop: oneshot::Sender<()>,
}

impl Upstream {
    fn start(answer: impl Fn(Asked) -> Answering + Send + 'static) -> Self {
        Self::with_streams(1000, answer)
    }

    fn with_streams(streams: u32, answer: impl Fn(Asked) -> Answering + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (connections, heads) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<Parts>>>::default());
        let (counted, kept) = (Arc::clone(&connections), Arc::clone(&heads));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let answer = std::rc::Rc::new(answer);
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        let (answer, kept) = (std::rc::Rc::clone(&answer), Arc::clone(&kept));
                        spawn_local(async move {
                            let Ok(mut connection) = h2::server::Builder::new().max_concurrent_streams(streams).handshake(stream).await
                            else {
                                return;
                            };
                            while let Some(Ok((request, respond))) = connection.accept().await {
                                let (head, body) = request.into_parts();
                                let nth = {
                                    let mut kept = kept.lock().unwrap();
                                    kept.push(head.clone());
                                    kept.len() - 1
                                };
                                spawn_local(answer(Asked { nth, head, body, respond }));
                            }
                        });
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    () = accept => {}
                }
            });
        });
        Self { address, connections, heads, _stop: stop }
    }

    fn heads(&self) -> Vec<Parts> {
        self.heads.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn sidecar(&self) -> (Sidecar, String) {
        sidecar(&format!("h2c://{}", self.address), "")
    }
}

fn sidecar(url: &str, more: &str) -> (Sidecar, String) {
    let sidecar = Sidecar::start(&format!("[upstreams.main]\nurl = \"{url}\"\n{more}\n[runtime]\nworkers = 1"));
    let key = sidecar.home.issue().secret;
    (sidecar, key)
}

/// Sends as many requests at once, each on a connection of its own; their statuses.
fn at_once(sidecar: &Sidecar, key: &str, count: usize) -> Vec<u16> {
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let (address, request) = (sidecar.address(), Request::get("/").bearer(key));
            thread::spawn(move || once(address, &request).status)
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

#[test]
fn a_request_is_said_in_http_2s_own_words() {
    let upstream = Upstream::start(|mut asked| {
        Box::pin(async move {
            let body = asked.read().await;
            asked.answer(std::str::from_utf8(&body).unwrap());
        })
    });
    let (sidecar, key) = upstream.sidecar();
    let request = Request::new("POST", "/v1/users?page=2").bearer(&key).header("TE", "trailers").header("X-Custom", "1").body("content");
    let answer = once(sidecar.address(), &request);
    assert_eq!((answer.status, answer.text().as_str()), (200, "content"));
    let head = upstream.heads().remove(0);
    assert_eq!((head.method.as_str(), head.uri.to_string().as_str()), ("POST", "http://api.example/v1/users?page=2"));
    for (name, value) in [
        ("te", Some("trailers")),
        ("x-custom", Some("1")),
        ("content-length", Some("7")),
        ("x-tenant-id", Some("acme")),
        ("host", None),
        ("authorization", None),
    ] {
        assert_eq!(head.headers.get(name).map(|value| value.to_str().unwrap()), value, "{name}");
    }
}

#[test]
fn requests_at_the_same_time_share_a_connection() {
    let everybody = Arc::new(Barrier::new(20));
    let upstream = Upstream::start(move |mut asked| {
        let everybody = Arc::clone(&everybody);
        Box::pin(async move {
            everybody.wait().await;
            asked.answer("ok");
        })
    });
    let (sidecar, key) = upstream.sidecar();
    assert_eq!(at_once(&sidecar, &key, 20), [200; 20]);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn no_more_streams_than_allowed_are_on_a_connection() {
    let everybody = Arc::new(Barrier::new(5));
    let upstream = Upstream::with_streams(2, move |mut asked| {
        let everybody = Arc::clone(&everybody);
        Box::pin(async move {
            everybody.wait().await;
            asked.answer("ok");
        })
    });
    let (sidecar, key) = upstream.sidecar();
    assert_eq!(at_once(&sidecar, &key, 5), [200; 5]);
    assert_eq!(upstream.connections(), 3);
}

#[test]
fn a_refused_stream_is_sent_again_and_only_once() {
    let upstream = Upstream::start(|mut asked| {
        Box::pin(async move {
            match asked.head.uri.path() {
                "/never" => asked.respond.send_reset(Reason::REFUSED_STREAM),
                _ if asked.nth == 0 => asked.respond.send_reset(Reason::REFUSED_STREAM),
                _ => asked.answer("ok"),
            }
        })
    });
    let (sidecar, key) = upstream.sidecar();
    assert_eq!(once(sidecar.address(), &Request::new("POST", "/").bearer(&key)).status, 200);
    assert_eq!((upstream.heads().len(), upstream.connections()), (2, 2));
    assert_eq!(once(sidecar.address(), &Request::get("/never").bearer(&key)).status, 502);
    assert_eq!(upstream.heads().len(), 4);
}

#[test]
fn any_other_reset_and_a_body_that_was_begun_arrive_once() {
    let upstream = Upstream::start(|mut asked| {
        Box::pin(async move {
            if asked.head.uri.path() == "/body" {
                let _ = asked.body.data().await;
                asked.respond.send_reset(Reason::REFUSED_STREAM);
            } else {
                asked.respond.send_reset(Reason::INTERNAL_ERROR);
            }
        })
    });
    let (sidecar, key) = upstream.sidecar();
    assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 502);
    assert_eq!(upstream.heads().len(), 1);
    assert_eq!(once(sidecar.address(), &Request::new("POST", "/body").bearer(&key).body("pay")).status, 502);
    assert_eq!(upstream.heads().len(), 2);
}

/// A frame of HTTP/2: type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Frame by frame: on each connection SETTINGS at once, then `say` at each request, by the numbers of connection and request;
/// nothing = the connection ends. HEADERS are counted.
fn raw_upstream(say: impl Fn(usize, u32) -> Vec<u8> + Send + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    thread::spawn(move || {
        for connection in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            stream.write_all(&frame(4, 0, 0, &[])).unwrap();
            stream.read_exact(&mut [0; 24]).unwrap();
            let (mut head, mut nth) = ([0; 9], 0);
            while stream.read_exact(&mut head).is_ok() {
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                stream.read_exact(&mut vec![0; length]).unwrap();
                if head[3] == 1 {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let said = say(connection, nth);
                    if said.is_empty() {
                        break;
                    }
                    stream.write_all(&said).unwrap();
                    nth += 1;
                }
            }
        }
    });
    (address, requests)
}

/// The same, whose first connection answers once and ends at the next request.
fn closes_when_used_again() -> (SocketAddr, Arc<AtomicUsize>) {
    raw_upstream(|connection, nth| if connection == 0 && nth > 0 { Vec::new() } else { ok(nth) })
}

/// `:status: 200` from the static table, and the end.
fn ok(nth: u32) -> Vec<u8> {
    frame(1, 0x5, 2 * nth + 1, &[0x88])
}

#[test]
fn what_a_goaway_leaves_out_is_sent_again_whatever_it_is() {
    let (address, requests) = raw_upstream(|connection, nth| if connection == 0 { frame(7, 0, 0, &[0; 8]) } else { ok(nth) });
    let (sidecar, key) = sidecar(&format!("h2c://{address}"), "");
    assert_eq!(once(sidecar.address(), &Request::new("DELETE", "/").bearer(&key)).status, 200);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[test]
fn what_a_goaway_may_have_let_in_is_a_502_and_arrives_once() {
    let (address, requests) = raw_upstream(|connection, nth| match (connection, nth) {
        (0, 0) => ok(0),
        (0, 1) => [frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]), frame(3, 0, 3, &[0, 0, 0, 8])].concat(),
        _ => ok(nth),
    });
    let (sidecar, key) = sidecar(&format!("h2c://{address}"), "");
    let delete = || once(sidecar.address(), &Request::new("DELETE", "/").bearer(&key)).status;
    assert_eq!([delete(), delete()], [200, 502]);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[test]
fn a_used_connection_that_closes_costs_only_what_asks_for_a_change() {
    for (method, status, arrived) in [("GET", 200, 3), ("HEAD", 200, 3), ("DELETE", 502, 2), ("POST", 502, 2)] {
        let (address, requests) = closes_when_used_again();
        let (sidecar, key) = sidecar(&format!("h2c://{address}"), "");
        assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 200);
        assert_eq!(once(sidecar.address(), &Request::new(method, "/").bearer(&key)).status, status, "{method}");
        assert_eq!(requests.load(Ordering::SeqCst), arrived, "{method}");
    }
}

#[test]
fn interim_answers_stay_with_us() {
    let (address, _) = raw_upstream(|_, nth| [frame(1, 0x4, 2 * nth + 1, b"\x48\x03103"), ok(nth)].concat());
    let (sidecar, key) = sidecar(&format!("h2c://{address}"), "");
    let answer = once(sidecar.address(), &Request::get("/").bearer(&key));
    assert_eq!((answer.status, answer.interim.as_slice()), (200, [].as_slice()));
}

#[test]
fn an_upstream_that_speaks_http_1_is_a_502() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.write_all(b"HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let (sidecar, key) = sidecar(&format!("h2c://{address}"), "");
    assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, 502);
}

#[test]
fn bodies_stream_both_ways_and_trailers_follow() {
    let upstream = Upstream::start(|mut asked| {
        Box::pin(async move {
            let head = Response::builder().header("trailer", "grpc-status").body(()).unwrap();
            let mut stream = asked.respond.send_response(head, false).unwrap();
            while let Some(Ok(bytes)) = asked.body.data().await {
                asked.body.flow_control().release_capacity(bytes.len()).unwrap();
                stream.send_data(bytes, false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers).unwrap();
        })
    });
    let (sidecar, key) = upstream.sidecar();
    let mut client = Client::connect(sidecar.address());
    client.send(Request::new("POST", "/").bearer(&key).header("TE", "trailers").header("Transfer-Encoding", "chunked").bytes());
    let head = client.head();
    assert!(head.first_line.starts_with("HTTP/1.1 200"));
    assert_eq!(head.framing().unwrap(), Some(Framing::Chunked));
    for piece in ["one", "two"] {
        client.send(format!("3\r\n{piece}\r\n"));
        assert_eq!(client.bytes(8), format!("3\r\n{piece}\r\n").as_bytes(), "each as it comes");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.bytes(21), b"0\r\ngrpc-status: 0\r\n\r\n");
}

#[test]
fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut asked| {
        let tell = tell.clone();
        Box::pin(async move {
            if asked.head.uri.path() == "/stays" {
                return asked.answer("ok");
            }
            let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"first"), false).unwrap();
            tell.send(std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap()).unwrap();
        })
    });
    let (sidecar, key) = upstream.sidecar();
    let mut client = Client::connect(sidecar.address());
    client.send(Request::get("/leaves").bearer(&key).bytes());
    client.head();
    client.bytes(10);
    client.finish();
    drop(client);
    assert_eq!(told.blocking_recv(), Some(Reason::CANCEL));
    assert_eq!(once(sidecar.address(), &Request::get("/stays").bearer(&key)).status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let (go, told) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let upstream = Upstream::start(move |mut asked| {
        let told = told.lock().unwrap().take().unwrap();
        Box::pin(async move {
            let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"first"), false).unwrap();
            told.await.unwrap();
            stream.send_reset(Reason::INTERNAL_ERROR);
        })
    });
    let (sidecar, key) = upstream.sidecar();
    let mut client = Client::connect(sidecar.address());
    client.send(Request::get("/").bearer(&key).bytes());
    client.head();
    assert_eq!(client.bytes(10), b"5\r\nfirst\r\n");
    go.send(()).unwrap();
    assert!(client.is_closed(), "without the last chunk");
}

#[test]
fn an_early_answer_is_relayed_and_stops_the_upload() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |mut asked| {
        let tell = tell.clone();
        Box::pin(async move {
            asked.answer("enough");
            while let Some(Ok(bytes)) = asked.body.data().await {
                asked.body.flow_control().release_capacity(bytes.len()).unwrap();
            }
            tell.send(asked.body.is_end_stream()).unwrap();
        })
    });
    let (sidecar, key) = upstream.sidecar();
    let mut client = Client::connect(sidecar.address());
    client.send(Request::new("POST", "/").bearer(&key).header("Content-Length", "1000000000").bytes());
    client.send(vec![b'x'; 1000]);
    let answer = client.answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "enough"));
    assert!(client.is_closed());
    assert_eq!(told.blocking_recv(), Some(false), "it was reset");
}

#[test]
fn http_2_over_tls_is_agreed_upon_or_refused() {
    let upstream = Upstream::start(|mut asked| Box::pin(async move { asked.answer("ok") }));
    for (alpn, status) in [(&["http/1.1", "h2"][..], 200), (&["http/1.1"], 502), (&[], 502)] {
        let terminator = Terminator::start(upstream.address, "localhost", alpn);
        let more = format!("[upstreams.main.tls]\nca_file = \"{}\"", terminator.ca_file().display());
        let (sidecar, key) = sidecar(&format!("h2://localhost:{}", terminator.address.port()), &more);
        assert_eq!(once(sidecar.address(), &Request::get("/").bearer(&key)).status, status, "{alpn:?}");
    }
    assert_eq!(upstream.heads().len(), 1);
    assert_eq!(upstream.heads()[0].uri.scheme_str(), Some("https"));
}

#[test]
fn a_websocket_is_not_asked_of_it() {
    let upstream = Upstream::start(|mut asked| Box::pin(async move { asked.answer("plain") }));
    let (sidecar, key) = upstream.sidecar();
    let request = Request::get("/").bearer(&key).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(once(sidecar.address(), &request).text(), "plain");
    assert!(!upstream.heads()[0].headers.contains_key("upgrade"));
}

#[test]
fn a_grpc_call_streams_both_ways_from_end_to_end() {
    let upstream = Upstream::start(|mut asked| {
        Box::pin(async move {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = asked.respond.send_response(head, false).unwrap();
            while let Some(Ok(bytes)) = asked.body.data().await {
                asked.body.flow_control().release_capacity(bytes.len()).unwrap();
                stream.send_data(bytes, false).unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            stream.send_trailers(trailers).unwrap();
        })
    });
    let (sidecar, key) = upstream.sidecar();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(sidecar.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let running = tokio::spawn(connection);
        let request = http::Request::post("http://api.example/chat.Chat/Talk")
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, mut upload) = client.ready().await.unwrap().send_request(request, false).unwrap();
        upload.send_data(Bytes::from_static(b"one"), false).unwrap();
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "one", "while the request goes on");
        upload.send_data(Bytes::from_static(b"two"), true).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "two");
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        running.abort();
    });
    let head = upstream.heads().remove(0);
    assert_eq!((head.headers["te"].as_bytes(), head.headers["content-type"].as_bytes()), (&b"trailers"[..], &b"application/grpc"[..]));
}
