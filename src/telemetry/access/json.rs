//! A line as one JSON object, written by hand: its names need no escaping and most of its values none, which a serializer looks for
//! in every byte of every request's line. What does need it is `serde_json`'s to escape.

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;

use serde::Serialize;

use super::Line;
use crate::clock::Timestamp;

/// The object, being written; a member's name is `,"name":`.
struct Object<'o>(&'o mut Vec<u8>);

/// Appends the line, without a newline.
pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_time(line.timestamp, out);
    out.push(b'"');
    let mut object = Object(out);
    object.unless_empty(r#","http.request.method":"#, &line.method);
    object.unless_empty(r#","url.path":"#, &line.path);
    object.maybe(r#","url.query":"#, line.query.as_deref());
    object.maybe(r#","network.protocol.version":"#, line.version);
    object.maybe(r#","server.address":"#, line.host.as_deref());
    if let Some(ip) = line.client {
        let _ = write!(object.0, ",\"client.address\":\"{ip}\"");
    }
    if let Some(status) = line.status {
        object.plain(r#","http.response.status_code":"#, &status);
    }
    object.maybe(r#","http.route":"#, line.route);
    object.text(r#","reason":"#, line.reason);
    object.unless_empty(r#","would_refuse":"#, &line.would_refuse);
    object.unless_empty(r#","detail":"#, &line.detail);
    object.maybe(r#","error.type":"#, line.error);
    object.text(r#","request_id":"#, line.request_id);
    object.maybe(r#","trace_id":"#, line.trace_id.as_deref());
    object.maybe(r#","tenant.id":"#, line.tenant);
    object.maybe(r#","key.id":"#, line.key);
    object.maybe(r#","token.issuer":"#, line.issuer);
    object.maybe(r#","subject":"#, line.subject.as_deref());
    object.maybe(r#","environment":"#, line.environment);
    object.text(r#","credential":"#, line.credential);
    object.maybe(r#","credential.fingerprint":"#, line.fingerprint.as_deref());
    object.millis(r#","duration_ms":"#, line.duration_ms);
    if let Some(upstream_ms) = line.upstream_ms {
        object.millis(r#","upstream_ms":"#, upstream_ms);
    }
    if line.replayed {
        object.plain(r#","replayed":"#, &true);
    }
    object.plain(r#","http.request.body.size":"#, &line.request_bytes);
    object.plain(r#","http.response.body.size":"#, &line.response_bytes);
    object.maybe(r#","user_agent.original":"#, line.user_agent.as_deref());
    object.text(r#","listener":"#, line.listener);
    out.push(b'}');
}

/// As [`Timestamp`] is shown. The lines of a second begin alike.
fn write_time(time: Timestamp, out: &mut Vec<u8>) {
    thread_local!(static SECOND: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) });
    let (second, ms) = (time.0.div_euclid(1000), time.0.rem_euclid(1000));
    SECOND.with_borrow_mut(|(known, text)| {
        if *known != second {
            text.clear();
            let _ = fmt::Write::write_fmt(text, format_args!("{}", Timestamp(second.saturating_mul(1000))));
            *known = second;
        }
        match text.strip_suffix('Z').filter(|_| ms > 0) {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                let digits = [ms / 100, ms / 10 % 10, ms % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default());
                out.push(b'.');
                let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
                out.extend_from_slice(digits.get(..end).unwrap_or_default());
                out.push(b'Z');
            }
            None => out.extend_from_slice(text.as_bytes()),
        }
    });
}

impl Object<'_> {
    fn text(&mut self, name: &'static str, value: &str) {
        // Every byte is looked at, whatever is found: so they are looked at many at once.
        let specials: usize = value.bytes().map(|byte| usize::from(byte < b' ' || matches!(byte, b'"' | b'\\'))).sum();
        if specials > 0 {
            return self.plain(name, value);
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    fn maybe(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn unless_empty(&mut self, name: &'static str, value: &str) {
        self.maybe(name, Some(value).filter(|value| !value.is_empty()));
    }

    /// A time in milliseconds, which are whole microseconds nearly always.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::float_cmp,
        reason = "below 2^32, and held to what it is of"
    )]
    fn millis(&mut self, name: &'static str, ms: f64) {
        let us = (ms * 1e3).round() as i64;
        if !(0..1 << 32).contains(&us) || us as f64 / 1e3 != ms {
            return self.plain(name, &ms);
        }
        self.0.extend_from_slice(name.as_bytes());
        let _ = write!(self.0, "{}.", us / 1000);
        let digits = [us / 100 % 10, us / 10 % 10, us % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default());
        let end = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
        self.0.extend_from_slice(digits.get(..end).unwrap_or_default());
    }

    fn plain(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.0.extend_from_slice(name.as_bytes());
        // Into memory, and of text and numbers: neither can fail.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn times_are_written_as_they_are_shown() {
        for ms in [i64::MIN, -1_500, -1, 0, 1_799_999_999_999, i64::MAX].into_iter().chain(1_800_000_000_000..1_800_000_002_000) {
            let mut out = Vec::new();
            write_time(Timestamp(ms), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), Timestamp(ms).to_string());
        }
    }

    #[test]
    fn milliseconds_are_written_as_any_number_is() {
        let many = (0..3_000).map(|us| f64::from(us) / 1e3).chain((0..20_000_u32).map(|n| f64::from(n * 214_321) / 1e3));
        for ms in many.chain([0.000_1, 1e9, 4_294_967.296, 1e300, f64::MAX, -1.5, 1.234_5]) {
            let mut out = Vec::new();
            Object(&mut out).millis("", ms);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&ms).unwrap());
        }
    }

    fn full(text: &str, bytes: u64) -> Line<'_> {
        Line {
            timestamp: Timestamp(1_700_000_000_123),
            method: text.into(),
            path: text.into(),
            query: Some(text.into()),
            version: Some("1.1"),
            host: Some(text.into()),
            client: Some("2001:db8::1".parse().unwrap()),
            status: Some(418),
            route: Some(text),
            reason: text,
            would_refuse: text.into(),
            detail: text.into(),
            error: Some("shutdown"),
            request_id: text,
            trace_id: Some(text.to_owned()),
            tenant: Some(text),
            key: Some(text),
            issuer: Some(text),
            subject: Some(text.into()),
            environment: Some("live"),
            credential: "api_key",
            fingerprint: Some(text.to_owned()),
            duration_ms: 1.5,
            upstream_ms: Some(0.001),
            replayed: true,
            request_bytes: bytes,
            response_bytes: bytes,
            user_agent: Some(text.into()),
            listener: text,
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_in_it_reads_back_as_it_was(text in "(?s).{1,40}", bytes: u64) {
            let mut out = Vec::new();
            write(&full(&text, bytes), &mut out);
            let expected = json!({
                "timestamp": "2023-11-14T22:13:20.123Z", "http.request.method": text, "url.path": text, "url.query": text,
                "network.protocol.version": "1.1", "server.address": text, "client.address": "2001:db8::1",
                "http.response.status_code": 418, "http.route": text, "reason": text, "would_refuse": text, "detail": text,
                "error.type": "shutdown", "request_id": text, "trace_id": text, "tenant.id": text, "key.id": text,
                "token.issuer": text, "subject": text, "environment": "live", "credential": "api_key",
                "credential.fingerprint": text, "duration_ms": 1.5, "upstream_ms": 0.001, "replayed": true,
                "http.request.body.size": bytes, "http.response.body.size": bytes, "user_agent.original": text, "listener": text,
            });
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
        }
    }

    #[test]
    fn what_there_is_nothing_to_say_of_is_left_out() {
        let nothing = Line {
            query: None,
            version: None,
            host: None,
            client: None,
            status: None,
            route: None,
            error: None,
            trace_id: None,
            tenant: None,
            key: None,
            issuer: None,
            subject: None,
            environment: None,
            fingerprint: None,
            upstream_ms: None,
            replayed: false,
            user_agent: None,
            ..full("", 0)
        };
        let mut out = Vec::new();
        write(&nothing, &mut out);
        let said = r#"{"timestamp":"2023-11-14T22:13:20.123Z","reason":"","request_id":"","credential":"api_key","duration_ms":1.5,"#;
        assert_eq!(
            String::from_utf8(out).unwrap(),
            said.to_owned() + r#""http.request.body.size":0,"http.response.body.size":0,"listener":""}"#
        );
    }
}
