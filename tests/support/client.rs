//! A client that sends exactly the bytes it is given and reads answers strictly.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use super::stream::{Address, Stream};
use super::wire::{Broken, Framing, Head, Reader};

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Statuses of 1xx answers before it.
    pub(crate) interim: Vec<u16>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.one(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// A connection to a sidecar.
pub(crate) struct Client {
    stream: Stream,
    reader: Reader<Stream>,
}

impl Client {
    pub(crate) fn connect(address: impl Into<Address>) -> Self {
        let stream = address.into().connect().unwrap();
        let reader = Reader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// To something else than a sidecar, whose chunks may have extensions.
    pub(crate) fn connect_directly(address: impl Into<Address>) -> Self {
        let mut client = Self::connect(address);
        client.reader.take_extensions();
        client
    }

    /// Sends bytes. A server may have refused and closed before it read all of them: that shows in the answers.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more will come.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write);
    }

    /// The next head, whatever its status.
    pub(crate) fn head(&mut self) -> Head {
        self.reader.head().unwrap().expect("a head")
    }

    /// The body behind a head, piece by piece.
    pub(crate) fn content(&mut self, head: &Head, each: &mut dyn FnMut(&[u8])) {
        self.reader.body(head.framing().unwrap().unwrap(), each).unwrap();
    }

    /// Waits so long for bytes instead of [`super::PATIENCE`].
    pub(crate) fn set_patience(&self, patience: Duration) {
        self.stream.bound_reads(patience).unwrap();
    }

    /// The next `length` bytes as they are.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader.body(Framing::Length(length as u64), &mut |piece| bytes.extend_from_slice(piece)).unwrap();
        bytes
    }

    /// The next final answer, to a request of this method; `None` where the connection ended instead.
    pub(crate) fn try_answer(&mut self, method: &str) -> Option<Answer> {
        self.judged_answer(method).unwrap_or_else(|what| panic!("the answer is malformed: {what}"))
    }

    /// The same; what is wrong with it as an error.
    fn judged_answer(&mut self, method: &str) -> Result<Option<Answer>, String> {
        let mut interim = Vec::new();
        loop {
            let head = match self.reader.head() {
                Ok(Some(head)) => head,
                Ok(None) | Err(Broken::Ended) => return Ok(None),
                Err(Broken::Malformed(what)) => return Err(what),
            };
            let words: Vec<&str> = head.first_line.splitn(3, ' ').collect();
            let status = match words.as_slice() {
                // A client of HTTP/1.0 may be answered in its version.
                ["HTTP/1.1" | "HTTP/1.0", status, _] if status.len() == 3 => status.parse::<u16>().unwrap(),
                _ => return Err(format!("status line {:?}", head.first_line)),
            };
            if status < 200 {
                interim.push(status);
                continue;
            }
            let framing = match head.framing() {
                Ok(framing) => framing,
                Err(broken) => return Err(format!("{broken:?}")),
            };
            let framing = match framing {
                _ if method == "HEAD" || matches!(status, 204 | 304) => Framing::Length(0),
                None => Framing::UntilClose,
                Some(framing) => framing,
            };
            let mut body = Vec::new();
            return match self.reader.body(framing, &mut |bytes| body.extend_from_slice(bytes)) {
                Ok(trailers) => Ok(Some(Answer { status, head, body, trailers, interim })),
                Err(Broken::Ended) => Ok(None),
                Err(Broken::Malformed(what)) => Err(what),
            };
        }
    }

    pub(crate) fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).expect("an answer")
    }

    /// Every answer until the server ends the connection.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let (answers, end) = self.answers_and_end();
        end.unwrap_or_else(|what| panic!("after {} answers: {what}", answers.len()));
        answers
    }

    /// The same, and what is wrong with the end: malformed bytes, or a connection that is kept open.
    pub(crate) fn answers_and_end(&mut self) -> (Vec<Answer>, Result<(), String>) {
        let mut answers = Vec::new();
        loop {
            match self.judged_answer("GET") {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => return (answers, Ok(())),
                Err(what) => return (answers, Err(what)),
            }
        }
    }

    /// Whether bytes have come, or come in time; none are taken.
    pub(crate) fn has_bytes(&mut self) -> bool {
        self.reader.has_bytes()
    }

    /// Waits until the server ends the connection; `false` where more bytes come instead.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.reader.at_end()
    }
}

/// A request that is alone on its connection.
pub(crate) fn once(address: impl Into<Address>, request: &Request) -> Answer {
    let mut client = Client::connect(address);
    client.send(request.bytes());
    client.answer(&request.method)
}

/// An ordinary request, written down.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: vec![("Host".into(), "api.example".into())], body: Vec::new() }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn bearer(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
