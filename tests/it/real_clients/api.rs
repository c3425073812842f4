//! The API that the clients call: what APIs do that clients are sensitive to. Where something must stream, the next piece
//! waits for the client's word that the last one is there.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex};

use super::pattern;
use crate::support::PATIENCE;
use crate::support::upstream::{Exchange, Upstream};

/// `packed by the API, unpacked by the client`, as `gzip -n9` packs it.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2bHL\xceNMQH\xaaT(\xc9HUp\x0c\xf0\xd4Q(\xcd+@\x11L\xce\xc9L\xcd+\xe1\x02\x00\xec\x98w?\x2a\x00\x00\x00";
/// What the browser is shown.
const PAGE: &[u8] = include_bytes!("../../clients/page.html");
/// Events of a stream.
pub(super) const EVENTS: usize = 5;

/// What clients have said of what they see, by stream.
#[derive(Default)]
struct Words {
    said: Mutex<HashMap<String, usize>>,
    changed: Condvar,
}

impl Words {
    fn say(&self, stream: &str, count: usize) {
        self.said.lock().unwrap().insert(stream.to_owned(), count);
        self.changed.notify_all();
    }

    /// Waits until a client has said so; `false` where it does not come to that.
    fn wait(&self, stream: &str, count: usize) -> bool {
        let said = self.said.lock().unwrap();
        let missing = |said: &mut HashMap<String, usize>| said.get(stream).is_none_or(|said| *said < count);
        !self.changed.wait_timeout_while(said, PATIENCE, missing).unwrap().1.timed_out()
    }
}

/// Starts it.
pub(super) fn start() -> Upstream {
    let words = Words::default();
    Upstream::start(move |exchange| answer(exchange, &words))
}

fn answer(exchange: &mut Exchange<'_>, words: &Words) {
    let target = exchange.request.target.clone();
    let path: Vec<&str> = target.split('?').next().unwrap_or_default().split('/').skip(1).collect();
    if path.as_slice() == ["early"] {
        // Before anything of the content is read, as APIs answer what is too much; what still comes is read away.
        return exchange.answer(413, &[("Content-Type", "text/plain")], b"too much");
    }
    exchange.read_body();
    match path.as_slice() {
        ["echo"] => {
            let kind = exchange.request.header("content-type").unwrap_or("application/octet-stream").to_owned();
            let body = exchange.request.body.clone();
            exchange.answer(200, &[("Content-Type", &kind)], &body);
        }
        ["upload"] => {
            let told = format!("{{\"length\":{}}}", exchange.request.body_len);
            exchange.answer(200, &[("Content-Type", "application/json")], told.as_bytes());
        }
        ["pattern", length] => {
            let body = pattern(length.parse().unwrap());
            exchange.answer(200, &[], &body);
        }
        ["chunks"] => exchange.send(
            b"HTTP/1.1 200 Answer\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\nX-Checksum: 123\r\n\r\n",
        ),
        ["gzip"] => exchange.answer(200, &[("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")], GZIP),
        ["moved"] => redirect(exchange, 302, "/hello"),
        ["moved-with-content"] => redirect(exchange, 307, "/echo"),
        ["cookies"] => exchange.answer(200, &[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/; HttpOnly")], b"set"),
        ["cached"] if exchange.request.header("if-none-match") == Some("\"v1\"") => {
            exchange.send(b"HTTP/1.1 304 Answer\r\nETag: \"v1\"\r\n\r\n");
        }
        ["cached"] => exchange.answer(200, &[("ETag", "\"v1\"")], b"fresh"),
        ["nothing"] => exchange.send(b"HTTP/1.1 204 Answer\r\n\r\n"),
        ["absent"] => exchange.answer(404, &[("Content-Type", "application/json")], b"{\"error\":\"the API's own\"}"),
        ["page"] => exchange.answer(200, &[("Content-Type", "text/html")], PAGE),
        ["events", stream] => events(exchange, words, stream),
        ["seen", stream, count] => {
            words.say(stream, count.parse().unwrap());
            exchange.send(b"HTTP/1.1 204 Answer\r\n\r\n");
        }
        ["endless", stream] => {
            exchange.send(b"HTTP/1.1 200 Answer\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n");
            exchange.wait_for_the_end();
            words.say(stream, 1);
        }
        ["ended", stream] => {
            let status = if words.wait(stream, 1) { 200 } else { 504 };
            exchange.answer(status, &[], b"");
        }
        _ => exchange.answer(200, &[("Content-Type", "text/plain")], b"hello"),
    }
}

/// To an absolute address, made as frameworks make it: of what they are told of the client's view.
fn redirect(exchange: &mut Exchange<'_>, status: u16, path: &str) {
    let word = |name: &str| exchange.request.header(name).unwrap().to_owned();
    let location = format!("{}://{}{path}", word("x-forwarded-proto"), word("x-forwarded-host"));
    exchange.answer(status, &[("Location", &location)], b"");
}

/// Server-sent events. Where a client comes back with the last one it saw, there is nothing more to say.
fn events(exchange: &mut Exchange<'_>, words: &Words, stream: &str) {
    if exchange.request.header("last-event-id").is_some() {
        // What an EventSource takes for the end.
        return exchange.send(b"HTTP/1.1 204 Answer\r\n\r\n");
    }
    exchange
        .send(b"HTTP/1.1 200 Answer\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
    for event in 1..=EVENTS {
        let text = format!("id: {event}\nretry: 1\ndata: {event}\n\n");
        exchange.send(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
        if !words.wait(stream, event) {
            return exchange.close();
        }
    }
    exchange.send(b"0\r\n\r\n");
}
