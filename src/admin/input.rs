//! What callers send: paths, queries and JSON, read strictly. What is not known, doubled, or of another type is refused, with the
//! path of the field; nothing is guessed.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::problem::Refused;
use crate::json::{self, Wrong};
use crate::key::rules::check_id;

/// Longest body.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// Of one that is longer, so much is read.
const READ_MAX: usize = 8 << 20;
/// How long a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(15);

/// An id in the path.
pub(super) struct Id(pub(super) String);

/// The query.
pub(super) struct Query<T>(pub(super) T);

/// A body of JSON.
pub(super) struct Content<T>(pub(super) T);

/// A body of JSON of which all may be left out, itself too.
pub(super) struct Perhaps<T>(pub(super) T);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match Path::<String>::from_request_parts(parts, state).await {
            // What no id can be is not asked for.
            Ok(Path(id)) if check_id("id", &id).is_ok() => Ok(Self(id)),
            Ok(_) | Err(_) => Err(Refused::new(StatusCode::NOT_FOUND, "not_found", "this is no id: 1 to 64 of A-Z a-z 0-9 . _ -")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parse(Value::Object(pairs(parts.uri.query().unwrap_or_default())?)).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Content<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        match read(request).await? {
            Some(content) => Ok(Self(content)),
            None => Err(Refused::field("", "a JSON object is needed")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for Perhaps<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        Ok(Self(read::<Option<T>>(request).await?.flatten().unwrap_or_default()))
    }
}

/// The body; `None` = there is none.
async fn read<T: DeserializeOwned>(request: Request) -> Result<Option<T>, Refused> {
    let (parts, body) = request.into_parts();
    let said = parts.headers.get(header::CONTENT_TYPE).map(is_json);
    if said == Some(false) {
        return Err(not_json());
    }
    let content = gather(body, BODY_MAX).await?;
    if content.is_empty() {
        return Ok(None);
    }
    if said.is_none() {
        return Err(not_json());
    }
    json::read(&content).map(Some).map_err(wrong)
}

/// All of a body that is not longer than that.
pub(super) async fn gather(mut body: Body, longest: usize) -> Result<Bytes, Refused> {
    timeout(BODY_PATIENCE, async {
        let (mut content, mut read) = (BytesMut::new(), 0);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(Refused::field("", "the body broke off")) };
            let Ok(data) = frame.into_data() else { continue };
            read += data.len();
            if read <= longest {
                content.extend_from_slice(&data);
            }
            // Read on for a while: who still writes does not read why that was in vain.
            if read > READ_MAX {
                break;
            }
        }
        if read <= longest { Ok(content.freeze()) } else { Err(too_large()) }
    })
    .await
    .unwrap_or_else(|_| Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body did not come in time")))
}

fn too_large() -> Refused {
    Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("a body has at most {BODY_MAX} bytes"))
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.to_str().ok().and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") || kind.eq_ignore_ascii_case("application/merge-patch+json")
}

fn not_json() -> Refused {
    Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", "a body is JSON: Content-Type: application/json")
}

/// The pairs of a query; each name once.
fn pairs(query: &str) -> Result<Map<String, Value>, Refused> {
    let mut pairs = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if pairs.insert(name.clone(), Value::from(value)).is_some() {
            return Err(Refused::field(name, "it is there twice"));
        }
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, Refused> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| Refused::field("", "the query is not UTF-8"))?;
    Ok(decoded.into_owned())
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<T, Refused> {
    serde_path_to_error::deserialize(value).map_err(|error| wrong(Wrong::at(&error.path().to_string(), error.into_inner())))
}

fn wrong(Wrong { field, error }: Wrong) -> Refused {
    Refused::field(field, error.to_string())
}

/// The version that a change is to be of: from the body, or from If-Match.
pub(super) fn if_match(headers: &HeaderMap, version: Option<u64>) -> Result<Option<u64>, Refused> {
    let mut lines = headers.get_all(header::IF_MATCH).iter();
    let tag = match (lines.next().map(HeaderValue::to_str), lines.next()) {
        (None, _) | (Some(Ok("*")), None) => return Ok(version),
        (Some(Ok(tag)), None) => tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')),
        (Some(_), _) => None,
    };
    match tag.and_then(|tag| tag.parse().ok()) {
        Some(tag) if version.is_none_or(|version| version == tag) => Ok(Some(tag)),
        Some(_) => Err(Refused::field("version", "If-Match names another version")),
        None => Err(Refused::field("If-Match", "this is no ETag of a record: such as \"3\"")),
    }
}

/// A number, or a yes or no, in a query.
pub(super) fn number<'de, D: Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(from: D) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(|error| serde::de::Error::custom(format_args!("`{}`: {error}", text.escape_debug())))
}

/// What a merge patch says of a field: nothing, null, or a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Edit<T> {
    /// It is left out.
    #[default]
    Keep,
    /// null.
    Clear,
    /// A value.
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Edit<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::deserialize(from).map(|value| value.map_or(Self::Clear, Self::Set))
    }
}

impl<T: Clone> Edit<T> {
    /// Does it to a field that may be absent.
    pub(super) fn apply(&self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value.clone()),
        }
    }
}
