//! The API behind the sidecar, as a witness: it parses strictly, records every byte it was sent, and answers as the test says.
//! When it is dropped it fails the test if anything malformed, aliased or forbidden ever reached it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::PATIENCE;
use super::stream::{Address, Listener, Stream};
use super::wire::{Broken, Framing, Head, Reader};

/// Bytes of a body that are kept; all are counted.
const BODY_KEPT: usize = 1 << 20;

/// A request as it arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) framing: Option<Framing>,
    pub(crate) body: Vec<u8>,
    pub(crate) body_len: u64,
    /// CRC-32 of all of it.
    pub(crate) body_crc: u32,
    pub(crate) trailers: Vec<(String, String)>,
    /// Whether its body ended as its framing said.
    pub(crate) complete: bool,
}

impl Recorded {
    /// The one value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }
}

type Handler = dyn Fn(&mut Exchange<'_>) + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    recorded: Mutex<Vec<Recorded>>,
    changed: Condvar,
    violations: Mutex<Vec<String>>,
    forbidden: Mutex<Vec<Vec<u8>>>,
    open: Mutex<HashMap<usize, Stream>>,
    connections: AtomicUsize,
    stopping: AtomicBool,
    odd_names_pass: AtomicBool,
    asked_directly: AtomicBool,
}

/// One that runs.
pub(crate) struct Upstream {
    pub(crate) address: Address,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// A request that waits for its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) request: Recorded,
    index: usize,
    reader: &'a mut Reader<Stream>,
    stream: &'a mut Stream,
    shared: &'a Shared,
    body_read: bool,
    close: bool,
}

impl Exchange<'_> {
    /// Reads the body, unless that was done; the recorded request is complete then.
    pub(crate) fn read_body(&mut self) {
        self.read_body_with(&mut |_| {});
    }

    /// The same; `each` is told of every piece, and nothing more is read before it returns.
    pub(crate) fn read_body_with(&mut self, each: &mut dyn FnMut(&[u8])) {
        if std::mem::replace(&mut self.body_read, true) || self.close {
            return;
        }
        let request = &mut self.request;
        let mut crc = crc32fast::Hasher::new();
        let result = self.reader.body(request.framing.unwrap_or(Framing::Length(0)), &mut |bytes| {
            let room = BODY_KEPT.saturating_sub(request.body.len()).min(bytes.len());
            request.body.extend_from_slice(&bytes[..room]);
            request.body_len += bytes.len() as u64;
            crc.update(bytes);
            each(bytes);
        });
        request.body_crc = crc.finalize();
        match result {
            Ok(trailers) => {
                request.trailers = trailers;
                request.complete = true;
            }
            Err(Broken::Ended) => self.close = true,
            Err(Broken::Malformed(what)) => {
                self.shared.violation(format!("body of {} {}: {what}", request.method, request.target));
                self.close = true;
            }
        }
        for (name, value) in &request.trailers {
            self.shared.check_field("trailer", name, value);
        }
        self.shared.check_forbidden(&request.body);
        let mut recorded = self.shared.recorded.lock().unwrap();
        recorded[self.index] = request.clone();
        self.shared.changed.notify_all();
    }

    /// Sends bytes as they are. A client that is gone is not the witness's concern.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if self.stream.write_all(bytes).is_err() {
            self.close = true;
        }
    }

    /// A whole answer with Content-Length; no body where the method forbids it.
    pub(crate) fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("HTTP/1.1 {status} Answer\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if self.request.method != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.send(&bytes);
    }

    /// Switches protocols: from here on every piece that comes is given to `each`, which may answer, until the other side ends.
    pub(crate) fn tunnel(&mut self, mut each: impl FnMut(&mut Stream, &[u8])) {
        self.body_read = true;
        self.close = true;
        let stream = &mut *self.stream;
        let _ = self.reader.body(Framing::UntilClose, &mut |bytes| each(stream, bytes));
    }

    /// Waits until the other side ends the connection.
    pub(crate) fn wait_for_the_end(&mut self) {
        assert!(self.reader.at_end() || self.shared.stopping.load(Ordering::SeqCst), "bytes after a request that was not answered");
        self.close = true;
    }

    /// Whether nobody reads what is sent.
    pub(crate) fn is_over(&self) -> bool {
        self.close || self.shared.stopping.load(Ordering::SeqCst)
    }

    /// Ends the connection when the handler returns.
    pub(crate) fn close(&mut self) {
        self.close = true;
    }
}

impl Upstream {
    /// Answers 200 with the request's body, or `ok` where it has none.
    pub(crate) fn echo() -> Self {
        Self::start(|exchange| {
            exchange.read_body();
            let body = if exchange.request.body.is_empty() { b"ok".to_vec() } else { exchange.request.body.clone() };
            exchange.answer(200, &[("Content-Type", "text/plain")], &body);
        })
    }

    /// On a free port of loopback.
    pub(crate) fn start(handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        Self::start_at(&Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), handler)
    }

    pub(crate) fn start_at(address: &Address, handler: impl Fn(&mut Exchange<'_>) + Send + Sync + 'static) -> Self {
        let (listener, address) = Listener::bind(address).unwrap();
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            recorded: Mutex::default(),
            changed: Condvar::new(),
            violations: Mutex::default(),
            forbidden: Mutex::default(),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            odd_names_pass: AtomicBool::new(false),
            asked_directly: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            while let Ok(stream) = listener.accept() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
                shared.open.lock().unwrap().insert(connection, stream.try_clone().unwrap());
                thread::spawn(move || shared.serve(connection, stream));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    pub(crate) fn url(&self) -> String {
        self.address.url()
    }

    /// Header names with other characters than letter, digit and `-` are no violation (`odd_names = "keep"`).
    pub(crate) fn odd_names_pass(self) -> Self {
        self.shared.odd_names_pass.store(true, Ordering::SeqCst);
        self
    }

    /// Without a sidecar before it: whatever a client may send is no violation.
    pub(crate) fn asked_directly(self) -> Self {
        self.shared.asked_directly.store(true, Ordering::SeqCst);
        self.odd_names_pass()
    }

    /// These bytes must never arrive, in a head or in a body.
    pub(crate) fn must_never_see(&self, secret: &str) {
        self.shared.forbidden.lock().unwrap().push(secret.as_bytes().to_vec());
    }

    /// Everything that came so far, incomplete requests too.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorded.lock().unwrap().clone()
    }

    /// The requests that came whole.
    pub(crate) fn complete(&self) -> Vec<Recorded> {
        self.recorded().into_iter().filter(|request| request.complete).collect()
    }

    /// The only request that came.
    pub(crate) fn only(&self) -> Recorded {
        let mut all = self.recorded();
        assert_eq!(all.len(), 1, "one request should have come: {:?}", targets(&all));
        all.remove(0)
    }

    /// Waits until `enough` of what came.
    pub(crate) fn wait(&self, enough: impl Fn(&[Recorded]) -> bool) -> Vec<Recorded> {
        self.wait_within(PATIENCE, enough)
    }

    /// The same, for what takes its time to begin.
    pub(crate) fn wait_within(&self, patience: Duration, enough: impl Fn(&[Recorded]) -> bool) -> Vec<Recorded> {
        let recorded = self.shared.recorded.lock().unwrap();
        let (recorded, timeout) = self.shared.changed.wait_timeout_while(recorded, patience, |all| !enough(all)).unwrap();
        assert!(!timeout.timed_out(), "the upstream only saw {:?}", targets(&recorded));
        recorded.clone()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What was wrong with what came; dropping the upstream fails the test if there is anything.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.shared.violations.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which ends then; another may listen there as soon as this is gone.
        if let (Ok(_), Some(accepting)) = (self.address.connect(), self.accepting.take()) {
            let _ = accepting.join();
        }
        for stream in self.shared.open.lock().unwrap().values() {
            stream.shutdown(Shutdown::Both);
        }
        if !thread::panicking() {
            let violations = self.violations();
            assert!(violations.is_empty(), "what must never reach the upstream did: {violations:#?}");
        }
    }
}

impl Shared {
    fn serve(&self, connection: usize, mut stream: Stream) {
        let mut reader = Reader::new(stream.try_clone().unwrap());
        if self.asked_directly.load(Ordering::SeqCst) {
            reader.take_extensions();
        }
        loop {
            let head = match reader.head() {
                Ok(Some(head)) => head,
                Ok(None) | Err(Broken::Ended) => break,
                Err(Broken::Malformed(what)) => {
                    self.violation(format!("head: {what}"));
                    break;
                }
            };
            let Some((request, index)) = self.admit(connection, &head) else { break };
            let mut exchange =
                Exchange { request, index, reader: &mut reader, stream: &mut stream, shared: self, body_read: false, close: false };
            (self.handler)(&mut exchange);
            exchange.read_body();
            if exchange.close {
                break;
            }
        }
        stream.shutdown(Shutdown::Both);
        self.open.lock().unwrap().remove(&connection);
    }

    /// Judges and records a head; `None` where nothing sensible can follow it.
    fn admit(&self, connection: usize, head: &Head) -> Option<(Recorded, usize)> {
        let words: Vec<&str> = head.first_line.split(' ').collect();
        let directly = self.asked_directly.load(Ordering::SeqCst);
        let (method, target) = match words.as_slice() {
            [method, target, "HTTP/1.1"] => (method, target),
            [method, target, "HTTP/1.0"] if directly => (method, target),
            _ => {
                self.violation(format!("request line {:?}", head.first_line));
                return None;
            }
        };
        let is_origin_form = target.starts_with('/') || (*target == "*" && *method == "OPTIONS");
        if !(directly || is_origin_form) || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.violation(format!("target {target:?}"));
        }
        if !directly && head.all("host").count() != 1 {
            self.violation(format!("{} Host lines", head.all("host").count()));
        }
        for (name, value) in &head.fields {
            self.check_field("header", name, value);
        }
        self.check_forbidden(&head.raw);
        let framing = match head.framing() {
            Ok(framing) => framing,
            Err(broken) => {
                self.violation(format!("{broken:?} in {:?}", head.fields));
                return None;
            }
        };
        let request = Recorded {
            connection,
            method: (*method).to_owned(),
            target: (*target).to_owned(),
            framing,
            head: head.clone(),
            ..Recorded::default()
        };
        let mut recorded = self.recorded.lock().unwrap();
        recorded.push(request.clone());
        self.changed.notify_all();
        Some((request, recorded.len() - 1))
    }

    fn check_field(&self, what: &str, name: &str, value: &str) {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !plain && !self.odd_names_pass.load(Ordering::SeqCst) {
            self.violation(format!("{what} name with odd characters: {name}: {value}"));
        }
    }

    fn check_forbidden(&self, bytes: &[u8]) {
        for secret in self.forbidden.lock().unwrap().iter() {
            if memchr::memmem::find(bytes, secret).is_some() {
                self.violation(format!("a credential in {:?}", bytes.escape_ascii().to_string()));
            }
        }
    }

    fn violation(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }
}

fn targets(all: &[Recorded]) -> Vec<String> {
    all.iter().map(|request| format!("{} {}", request.method, request.target)).collect()
}
