//! Every way in which a request is refused: one closed enum, one table.
//! The reason names a refusal in logs, metrics, `explain` and `[errors.map]`; status, code and message are defaults that a profile may change.
//! The public sentence never carries a cause; the cause is the [`Refusal`]'s detail and stays in the log.

use std::borrow::Cow;
use std::fmt;

/// Family of a refusal, as `{type}` in the body template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Who is calling is not established.
    Authentication,
    /// Who is calling may not do this.
    Permission,
    /// Idempotency-Key.
    Idempotency,
    /// Too much.
    RateLimit,
    /// The request itself.
    InvalidRequest,
    /// We or the upstream.
    Api,
}

impl Family {
    /// The word in `{type}`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::Idempotency => "idempotency_error",
            Self::RateLimit => "rate_limit_error",
            Self::InvalidRequest => "invalid_request_error",
            Self::Api => "api_error",
        }
    }
}

/// The default answer of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Stable name.
    pub reason: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Code in the body.
    pub code: &'static str,
    /// Message in the body; may hold `{environment}`.
    pub message: &'static str,
    /// Family.
    pub family: Family,
    /// Whether this release can give it; the others are names that profiles may already map.
    pub built: bool,
}

macro_rules! rejections {
    ($($(#[$doc:meta])* $variant:ident = $reason:literal $status:literal $family:ident $code:literal $message:literal $built:literal;)+) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rejection { $($(#[$doc])* $variant,)+ }

        impl Rejection {
            /// Every rejection.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its row in the table.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$variant => &Row {
                        reason: $reason, status: $status, code: $code, message: $message, family: Family::$family, built: $built,
                    },)+
                }
            }
        }
    };
}

rejections! {
    /// The request cannot be parsed unambiguously.
    RequestInvalid = "request_invalid" 400 InvalidRequest "REQUEST_INVALID" "The request is malformed" true;
    /// The request target is longer than 8 KiB.
    TargetTooLong = "target_too_long" 414 InvalidRequest "TARGET_TOO_LONG" "Request target too long" true;
    /// The head has too many bytes or lines.
    HeadersTooLarge = "headers_too_large" 431 InvalidRequest "HEADERS_TOO_LARGE" "Request headers too large" true;
    /// CONNECT, TRACE, TRACK.
    MethodDenied = "method_denied" 405 InvalidRequest "METHOD_NOT_ALLOWED" "Method not allowed" true;
    /// No credential where one is looked for.
    CredentialMissing = "credential_missing" 401 Authentication "AUTH_REQUIRED" "Authentication required" true;
    /// What was sent is no credential of ours.
    CredentialMalformed = "credential_malformed" 401 Authentication "API_KEY_INVALID" "Invalid API key" true;
    /// More than one credential.
    CredentialConflict = "credential_conflict" 400 InvalidRequest "CREDENTIAL_CONFLICT" "Send exactly one credential" true;
    /// No such key.
    KeyUnknown = "key_unknown" 401 Authentication "API_KEY_INVALID" "Invalid API key" true;
    /// The key was revoked.
    KeyRevoked = "key_revoked" 401 Authentication "API_KEY_INVALID" "Invalid API key" true;
    /// The key is past its end.
    KeyExpired = "key_expired" 401 Authentication "API_KEY_EXPIRED" "API key has expired" true;
    /// The key was deactivated.
    KeyInactive = "key_inactive" 401 Authentication "API_KEY_INACTIVE" "API key is inactive" true;
    /// The key's tenant is suspended.
    TenantSuspended = "tenant_suspended" 401 Authentication "TENANT_SUSPENDED" "Account is suspended" true;
    /// Not a token.
    JwtMalformed = "jwt_malformed" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Signature or algorithm.
    JwtSignature = "jwt_signature" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Past `exp`.
    JwtExpired = "jwt_expired" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Before `nbf`.
    JwtNotYet = "jwt_not_yet" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Another `iss`.
    JwtIssuer = "jwt_issuer" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Another `aud`.
    JwtAudience = "jwt_audience" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Its session is over, or introspection says no.
    TokenInactive = "token_inactive" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// The token's tenant has no record.
    TenantUnknown = "tenant_unknown" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// A refresh token that is not good.
    RefreshInvalid = "refresh_invalid" 401 Authentication "INVALID_TOKEN" "Invalid or expired token" true;
    /// Keys of this environment are not served here.
    EnvironmentBlocked = "environment_blocked" 403 Permission "ENVIRONMENT_NOT_ALLOWED" "{environment} keys are not accepted here" true;
    /// The route takes other kinds of keys.
    KindRestricted = "kind_restricted" 403 Permission "KEY_KIND_RESTRICTED" "This kind of key may not call this endpoint" true;
    /// The route takes other kinds of credentials.
    CredentialDenied = "credential_denied" 403 Permission "CREDENTIAL_NOT_ALLOWED" "This kind of credential may not call this endpoint" true;
    /// The client's address is in no allowlist.
    IpDenied = "ip_denied" 403 Permission "IP_NOT_ALLOWED" "This IP address may not use this API key" true;
    /// The page's origin is not the key's.
    ReferrerDenied = "referrer_denied" 403 Permission "REFERRER_NOT_ALLOWED" "This origin may not use this API key" true;
    /// A secret key sent by a browser.
    BrowserDenied = "browser_denied" 403 Permission "SECRET_KEY_IN_BROWSER" "Secret keys may not be used from a browser" true;
    /// The key's endpoints do not hold this one.
    EndpointDenied = "endpoint_denied" 403 Permission "ENDPOINT_NOT_ALLOWED" "API key doesn't have permission for this resource" true;
    /// The route demands a scope that was not granted.
    ScopeMissing = "scope_missing" 403 Permission "INSUFFICIENT_SCOPE" "API key doesn't have permission for this resource" true;
    /// What would be injected is no valid header value.
    IdentityInvalid = "identity_invalid" 403 Permission "IDENTITY_INVALID" "Invalid credentials" true;
    /// Self-service asks for more than the caller has.
    GrantExceeded = "grant_exceeded" 403 Permission "GRANT_EXCEEDED" "A key cannot grant more than it has" true;
    /// No route matches.
    RouteUnmatched = "route_unmatched" 404 InvalidRequest "ROUTE_NOT_FOUND" "Not found" true;
    /// No Idempotency-Key where one is required.
    IdempotencyKeyMissing = "idempotency_key_missing" 400 Idempotency "IDEMPOTENCY_KEY_REQUIRED" "Idempotency-Key header required" true;
    /// Not a usable Idempotency-Key.
    IdempotencyKeyInvalid = "idempotency_key_invalid" 400 Idempotency "IDEMPOTENCY_KEY_INVALID" "Invalid Idempotency-Key" true;
    /// The first request still runs.
    IdempotencyConflict = "idempotency_conflict" 409 Idempotency "IDEMPOTENCY_CONFLICT" "A request with this Idempotency-Key is in progress" true;
    /// How the first request ended is not known.
    IdempotencyUnknown = "idempotency_unknown" 409 Idempotency "IDEMPOTENCY_UNKNOWN" "The outcome of the first request with this Idempotency-Key is not known" true;
    /// The first request was another one.
    IdempotencyParamMismatch = "idempotency_param_mismatch" 422 Idempotency "IDEMPOTENCY_PARAM_MISMATCH" "Idempotency-Key was used with different parameters" true;
    /// The body is larger than `body_bytes`.
    BodyTooLarge = "body_too_large" 413 InvalidRequest "BODY_TOO_LARGE" "Request body too large" true;
    /// Expect other than 100-continue.
    ExpectationFailed = "expectation_failed" 417 InvalidRequest "EXPECTATION_FAILED" "Expectation failed" true;
    /// Too many unknown credentials from this address.
    GuessThrottled = "guess_throttled" 429 RateLimit "RATE_LIMITED" "Too many requests" true;
    /// Over a rate limit.
    RateLimited = "rate_limited" 429 RateLimit "RATE_LIMITED" "Too many requests" true;
    /// Over a quota.
    QuotaExhausted = "quota_exhausted" 429 RateLimit "QUOTA_EXHAUSTED" "Quota exhausted" true;
    /// The upstream cannot be reached, or broke off before its answer.
    UpstreamUnavailable = "upstream_unavailable" 502 Api "UPSTREAM_UNAVAILABLE" "The service is not available" true;
    /// The upstream sent no response head in time.
    UpstreamTimeout = "upstream_timeout" 504 Api "UPSTREAM_TIMEOUT" "The service did not answer in time" true;
    /// The key table cannot be asked.
    StoreUnavailable = "store_unavailable" 503 Api "UNAVAILABLE" "Temporarily unavailable" true;
    /// The issuer's keys cannot be had.
    IssuerUnavailable = "issuer_unavailable" 503 Api "UNAVAILABLE" "Temporarily unavailable" true;
    /// No room for another connection.
    Overloaded = "overloaded" 503 Api "UNAVAILABLE" "Temporarily unavailable" true;
    /// This sidecar is on its way out.
    Draining = "draining" 503 Api "UNAVAILABLE" "Temporarily unavailable" false;
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout" 408 InvalidRequest "REQUEST_TIMEOUT" "Request timed out" true;
    /// Our fault.
    Internal = "internal" 500 Api "INTERNAL" "Internal error" true;
    /// Self-service: no such key of this tenant.
    KeyNotFound = "key_not_found" 404 InvalidRequest "KEY_NOT_FOUND" "API key not found" true;
    /// Self-service: the body is not what is asked for.
    BodyInvalid = "body_invalid" 400 InvalidRequest "BODY_INVALID" "Invalid request body" true;
    /// Self-service: the tenant has as many keys as it may.
    KeyLimit = "key_limit" 409 InvalidRequest "KEY_LIMIT" "Too many API keys" true;
    /// Self-service: another change came first.
    VersionConflict = "version_conflict" 409 InvalidRequest "VERSION_CONFLICT" "The key was changed meanwhile" true;
}

impl Rejection {
    /// The rejection with this reason.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rejection| rejection.row().reason == reason)
    }

    /// The same rejection with a word for the log.
    #[must_use]
    pub fn because(self, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { detail: detail.into(), ..self.into() }
    }
}

/// A rejection and, for the log and `explain` only, what it was about. Never holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub rejection: Rejection,
    /// Rule, name or value that decided; empty where the reason says it all.
    pub detail: Cow<'static, str>,
    /// Whether it is certain that the upstream got nothing of the request.
    pub unsent: bool,
    /// Whether what was presented is nobody's here: an older key system may know whose it is.
    pub unclaimed: bool,
}

impl Refusal {
    /// The upstream got nothing of the request.
    #[must_use]
    pub fn before_sending(self) -> Self {
        Self { unsent: true, ..self }
    }

    /// What was presented is nobody's here. Only this lets `[migration]` pass it on: never what a record says no to, nor an outage.
    #[must_use]
    pub fn of_nobody(self) -> Self {
        Self { unclaimed: true, ..self }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, detail: Cow::Borrowed(""), unsent: false, unclaimed: false }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rejection.row().reason)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_unique_and_found_by_name() {
        for rejection in Rejection::ALL {
            assert_eq!(Rejection::from_reason(rejection.row().reason), Some(*rejection));
        }
    }
}
