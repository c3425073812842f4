//! The bytes of a refusal: `[errors]` compiled, one row per rejection. The cause of a refusal never stands in its answer.

mod template;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::config::problem::Problems;
use crate::config::sections::{CodeCase, Config, EnvironmentName, Scheme};
use crate::cors::Cors;
use crate::facts::X_REQUEST_ID;
use crate::gate::Seen;
use crate::oauth_metadata::Metadata;
use crate::rejection::{Refusal, Rejection};
use template::{Template, Values};

/// The compiled answers.
#[derive(Debug)]
pub struct Answers {
    body: Template,
    content_type: HeaderValue,
    rows: Vec<(Rejection, Row)>,
    deployment: &'static str,
    /// Labels of live and test.
    labels: [Box<str>; 2],
    realm: Box<str>,
    /// Where clients learn who gives tokens, as challenges say it; empty = nowhere.
    metadata: Box<str>,
    basic: bool,
    hide_key_state: bool,
    guess_retry_after_secs: u64,
    cors: Option<Cors>,
}

#[derive(Debug)]
struct Row {
    status: StatusCode,
    code: Box<str>,
    message: Template,
}

impl Answers {
    /// Compiles `[errors]` and what of `[cors]`, `[credentials]`, `[environments]` shows in refusals.
    /// Keys of `errors.map` and their statuses are checked with the rest of the configuration.
    pub fn compile(config: &Config, problems: &mut Problems) -> Option<Self> {
        let errors = &config.errors;
        let body = problems.keep("errors.body", Template::parse(&errors.body));
        let content_type = problems.parse("errors.content_type", &errors.content_type);
        if !errors.realm.bytes().all(|byte| byte == b' ' || (byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')) {
            problems.error("errors.realm", "a realm is visible ASCII without \" and \\");
            return None;
        }
        let rows: Option<Vec<_>> =
            Rejection::ALL.iter().map(|rejection| Some((*rejection, Row::compile(*rejection, config, problems)?))).collect();
        let guess = &config.restrictions.guess_throttle;
        Some(Self {
            body: body?,
            content_type: content_type?,
            rows: rows?,
            deployment: config.deployment.name(),
            labels: [config.environments.live.label.as_str().into(), config.environments.test.label.as_str().into()],
            realm: errors.realm.as_str().into(),
            // Mistakes in [oauth_metadata] are reported by the routes, which have one for it.
            metadata: Metadata::compile(config, &mut Problems::default())
                .ok()?
                .map_or_else(Box::default, |metadata| format!(", resource_metadata=\"{}\"", metadata.url).into()),
            basic: config.credentials.sources.iter().any(|source| source.scheme == Some(Scheme::Basic)),
            hide_key_state: errors.hide_key_state,
            guess_retry_after_secs: guess.per.0.as_secs().div_ceil(u64::from(guess.failures.max(1))).max(1),
            // Mistakes in [cors] are reported by the gate, which compiles it too.
            cors: Cors::compile(config, &mut Problems::default())?,
        })
    }

    /// The whole answer: status, body, `Content-Type`, `Cache-Control`, `X-Request-Id`, challenge, `Retry-After`, CORS, gRPC shape.
    /// Connection management is the server's.
    #[must_use]
    pub fn refuse(&self, refusal: &Refusal, seen: &Seen) -> Response<Bytes> {
        let rejection = self.shown(refusal.rejection);
        let Some((_, row)) = self.rows.iter().find(|(known, _)| *known == rejection) else { return Response::new(Bytes::new()) };
        let mut answer = Response::new(Bytes::new());
        let message = row.message.render(&self.values(rejection, row, "", seen), false);
        if seen.grpc {
            grpc(&mut answer, row.status, &message);
        } else {
            *answer.status_mut() = row.status;
            *answer.body_mut() = self.body.render(&self.values(rejection, row, &message, seen), true).into();
            answer.headers_mut().insert(header::CONTENT_TYPE, self.content_type.clone());
        }
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_REQUEST_ID, seen.request_id.to_value());
        self.challenge(rejection, row.status, seen, headers);
        if let Some(secs) = self.retry_after(rejection, seen) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if rejection == Rejection::MethodDenied {
            headers.insert(header::ALLOW, HeaderValue::from_static(""));
        }
        self.expose(seen, headers);
        answer
    }

    /// The outcome of a gRPC call that is refused in the middle of its answer, as its trailers tell it.
    #[must_use]
    pub fn grpc_outcome(&self, refusal: &Refusal, seen: &Seen) -> HeaderMap {
        let headers = self.refuse(refusal, seen).into_parts().0.headers;
        GRPC_OUTCOME.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone()))).collect()
    }

    /// Sets the CORS headers of an answer to this request, ours or the upstream's.
    pub fn expose(&self, seen: &Seen, headers: &mut HeaderMap) {
        if let (Some(cors), Some(origin)) = (&self.cors, &seen.origin) {
            cors.expose(origin, headers);
        }
    }

    /// What the client is told: with `hide_key_state` every bad key is an unknown one.
    fn shown(&self, rejection: Rejection) -> Rejection {
        let state = matches!(
            rejection,
            Rejection::KeyRevoked
                | Rejection::KeyExpired
                | Rejection::KeyInactive
                | Rejection::TenantSuspended
                | Rejection::CredentialMalformed
        );
        if self.hide_key_state && state { Rejection::KeyUnknown } else { rejection }
    }

    fn values<'a>(&'a self, rejection: Rejection, row: &'a Row, message: &'a str, seen: &'a Seen) -> Values<'a> {
        let [live, test] = &self.labels;
        Values {
            code: &row.code,
            message,
            family: rejection.row().family.name(),
            status: row.status.as_u16(),
            reason: rejection.row().reason,
            request_id: seen.request_id.as_str(),
            environment: match seen.environment {
                Some(EnvironmentName::Live) => live,
                Some(EnvironmentName::Test) => test,
                None => "",
            },
            deployment: self.deployment,
        }
    }

    /// RFC 6750 §3: a challenge on every 401 (no `error` when nothing was sent), and on a missing scope; RFC 9728 §5.1.
    fn challenge(&self, rejection: Rejection, status: StatusCode, seen: &Seen, headers: &mut HeaderMap) {
        let (realm, metadata) = (&self.realm, &self.metadata);
        let challenge = if rejection == Rejection::ScopeMissing {
            let scope = &seen.scopes_demanded;
            Some(format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{scope}\"{metadata}"))
        } else if status != StatusCode::UNAUTHORIZED {
            None
        } else if seen.credential_sent {
            Some(format!("Bearer realm=\"{realm}\", error=\"invalid_token\"{metadata}"))
        } else {
            Some(format!("Bearer realm=\"{realm}\"{metadata}"))
        };
        let Some(challenge) = challenge else { return };
        if let Ok(value) = HeaderValue::try_from(challenge) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if self.basic
            && status == StatusCode::UNAUTHORIZED
            && let Ok(value) = HeaderValue::try_from(format!("Basic realm=\"{realm}\""))
        {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }

    fn retry_after(&self, rejection: Rejection, seen: &Seen) -> Option<u64> {
        match rejection.row().status {
            503 => Some(1),
            // The first request may end at any moment.
            409 if matches!(rejection, Rejection::IdempotencyConflict) => Some(1),
            429 => seen.limits.as_ref().and_then(|told| told.retry_after_secs).or(Some(self.guess_retry_after_secs)),
            _ => None,
        }
    }
}

impl Row {
    fn compile(rejection: Rejection, config: &Config, problems: &mut Problems) -> Option<Self> {
        let default = rejection.row();
        let group = default.status.to_string();
        // 429 and 5xx have no group: a store outage never looks like a bad key.
        let key = if config.errors.map.contains_key(default.reason) { default.reason } else { group.as_str() };
        let entry = config.errors.map.get(key).cloned().unwrap_or_default();
        let code = entry.code.unwrap_or_else(|| match config.errors.code_case {
            CodeCase::Upper => default.code.to_owned(),
            CodeCase::Lower => default.code.to_ascii_lowercase(),
        });
        let status = if key == default.reason { entry.status.unwrap_or(default.status) } else { default.status };
        let message = entry.message.as_deref().unwrap_or(default.message);
        let message = problems.keep(format!("errors.map.{key}.message"), Template::parse(message));
        let status = problems.keep(format!("errors.map.{key}.status"), StatusCode::from_u16(status));
        Some(Self { status: status?, code: code.into(), message: message? })
    }
}

/// Trailers-only (gRPC over HTTP/2, "Responses"): status 200, the outcome in the headers.
fn grpc(answer: &mut Response<Bytes>, status: StatusCode, message: &str) {
    let code = match status.as_u16() {
        400 | 414 | 417 => 3,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        408 | 504 => 4,
        409 => 10,
        413 | 429 | 431 => 8,
        422 => 9,
        502 | 503 => 14,
        _ => 13,
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let [status, outcome] = GRPC_OUTCOME;
    headers.insert(status, HeaderValue::from(code));
    let encoded = percent_encoding::utf8_percent_encode(message, GRPC_MESSAGE).to_string();
    if let Ok(value) = HeaderValue::try_from(encoded) {
        headers.insert(outcome, value);
    }
}

/// Names of the trailers that tell the outcome of a call: the code, and words.
const GRPC_OUTCOME: [HeaderName; 2] = [HeaderName::from_static("grpc-status"), HeaderName::from_static("grpc-message")];

/// `grpc-message` is percent-encoded beyond printable ASCII and `%`.
const GRPC_MESSAGE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::facts::RequestId;

    fn answers(toml: &str) -> Answers {
        let mut problems = Problems::default();
        Answers::compile(&toml::from_str(toml).unwrap(), &mut problems).unwrap_or_else(|| panic!("{:?}", problems.list()))
    }

    fn seen() -> Seen {
        Seen::new(RequestId::new(Timestamp(0)), &HeaderMap::new())
    }

    fn body(answer: &Response<Bytes>) -> String {
        String::from_utf8(answer.body().to_vec()).unwrap()
    }

    #[test]
    fn defaults_answer_as_the_contract_says() {
        let answer = answers("").refuse(&Rejection::CredentialMissing.into(), &seen());
        assert_eq!(answer.status(), 401);
        assert_eq!(body(&answer), r#"{"success":false,"error":"Authentication required","code":"AUTH_REQUIRED"}"#);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"api\"");
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }

    #[test]
    fn the_cause_is_never_told() {
        let answers = answers("");
        for rejection in Rejection::ALL {
            let answer = answers.refuse(&rejection.because("CAUSE"), &seen());
            assert!(!body(&answer).contains("CAUSE") && !format!("{:?}", answer.headers()).contains("CAUSE"));
        }
    }

    #[test]
    fn a_named_reason_does_not_take_from_its_group_and_groups_keep_statuses() {
        let answers = answers(
            r#"
            [errors]
            code_case = "lower"
            [errors.map]
            "401" = { code = "bad", message = "Bad" }
            key_expired = { message = "Old {environment}" }
            ip_denied = { status = 404, code = "gone" }
            "#,
        );
        let show = |rejection: Rejection| {
            let mut seen = seen();
            seen.environment = Some(EnvironmentName::Test);
            let answer = answers.refuse(&rejection.into(), &seen);
            (answer.status().as_u16(), body(&answer))
        };
        assert_eq!(show(Rejection::KeyUnknown), (401, r#"{"success":false,"error":"Bad","code":"bad"}"#.into()));
        assert_eq!(show(Rejection::KeyExpired), (401, r#"{"success":false,"error":"Old Test","code":"api_key_expired"}"#.into()));
        assert_eq!(
            show(Rejection::IpDenied),
            (404, r#"{"success":false,"error":"This IP address may not use this API key","code":"gone"}"#.into())
        );
        assert_eq!(show(Rejection::StoreUnavailable).0, 503);
    }

    #[test]
    fn hidden_states_are_alike_in_every_byte() {
        let answers = answers("[errors]\nhide_key_state = true");
        let seen = seen();
        let show = |rejection: Rejection| format!("{:?}", answers.refuse(&rejection.because("x"), &seen));
        for rejection in [Rejection::KeyRevoked, Rejection::KeyExpired, Rejection::KeyInactive, Rejection::TenantSuspended] {
            assert_eq!(show(rejection), show(Rejection::KeyUnknown));
        }
    }

    #[test]
    fn grpc_clients_get_trailers_only() {
        let mut seen = seen();
        seen.grpc = true;
        let answer = answers("").refuse(&Rejection::KeyUnknown.into(), &seen);
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], "16");
        assert_eq!(answer.headers()["grpc-message"], "Invalid API key");
        assert!(answer.body().is_empty());
    }

    #[test]
    fn a_missing_scope_is_named_in_the_challenge() {
        let mut seen = seen();
        seen.scopes_demanded = "read:a write:a".into();
        let answer = answers("").refuse(&Rejection::ScopeMissing.into(), &seen);
        assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"read:a write:a\"");
    }
}
