//! Spans in the words of OTLP 1.x: the few messages of `opentelemetry.proto.collector.trace.v1` that are said here, and no others.
//! Their field numbers are fixed for good; the tests read what is sent with OpenTelemetry's own messages.

use prost::Message;

use super::span::{Attributes, Value};
use super::{Asked, Span};

/// `SPAN_KIND_SERVER`
const SERVER: i32 = 2;
/// `SPAN_KIND_CLIENT`
const CLIENT: i32 = 3;
/// `STATUS_CODE_ERROR`
const ERROR: i32 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: it is known whether the parent is another process's.
const KNOWS_PARENT: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`
const REMOTE_PARENT: u32 = 0x200;
/// `TRACE_FLAGS_SAMPLED`
const SAMPLED: u32 = 1;

#[derive(Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<SpanMessage>,
}

#[derive(Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Message)]
struct SpanMessage {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Message)]
struct AnyValue {
    #[prost(oneof = "Scalar", tags = "1, 3")]
    value: Option<Scalar>,
}

#[derive(prost::Oneof)]
enum Scalar {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// A batch as the collector takes it; `host` is where this process runs.
#[must_use]
pub fn encode(batch: &[Span], host: &str) -> Vec<u8> {
    let resource = [("service.name", "sidegate"), ("service.version", env!("CARGO_PKG_VERSION")), ("host.name", host)];
    let resource = resource.map(|(key, value)| key_value(key, Value::Text(value.into()))).into();
    let scope = Scope { name: "sidegate".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans =
        batch.iter().flat_map(|span| [Some(server(span)), span.asked.as_ref().map(|asked| client(span, asked))]).flatten().collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(Resource { attributes: resource }), scope_spans }] }.encode_to_vec()
}

fn server(span: &Span) -> SpanMessage {
    let start = start_of(span);
    let parent = span.context.parent;
    SpanMessage {
        trace_id: span.context.trace.to_be_bytes().into(),
        span_id: span.context.server.to_be_bytes().into(),
        parent_span_id: parent.map(|parent| parent.to_be_bytes().into()).unwrap_or_default(),
        name: span.name(),
        kind: SERVER,
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(nanos(span.took)),
        attributes: attributes(span.server()),
        status: status(span.has_failed()),
        flags: SAMPLED | KNOWS_PARENT | if parent.is_some() { REMOTE_PARENT } else { 0 },
    }
}

fn client(span: &Span, asked: &Asked) -> SpanMessage {
    let start = start_of(span);
    SpanMessage {
        trace_id: span.context.trace.to_be_bytes().into(),
        span_id: span.context.client.to_be_bytes().into(),
        parent_span_id: span.context.server.to_be_bytes().into(),
        name: span.client_name(),
        kind: CLIENT,
        start_time_unix_nano: start.saturating_add(nanos(asked.after)),
        end_time_unix_nano: start.saturating_add(nanos(span.took)),
        attributes: attributes(span.client(asked)),
        status: status(span.upstream_has_failed(asked)),
        flags: SAMPLED | KNOWS_PARENT,
    }
}

fn start_of(span: &Span) -> u64 {
    u64::try_from(span.began.0).unwrap_or_default().saturating_mul(1_000_000)
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn status(failed: bool) -> Option<Status> {
    failed.then_some(Status { code: ERROR })
}

fn attributes(all: Attributes<'_>) -> Vec<KeyValue> {
    all.into_iter().map(|(key, value)| key_value(key, value)).collect()
}

fn key_value(key: &str, value: Value<'_>) -> KeyValue {
    let value = match value {
        Value::Text(text) => Scalar::Text(text.into_owned()),
        Value::Number(number) => Scalar::Number(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
