//! What of the client's headers the upstream sees, and what is set in their place. One pass decides by name;
//! Connection's tokens are judged first and ours are set last, so that no client can remove them.

mod answer;
mod trailers;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use super::head::Fields;
use crate::clock::Timestamp;
use crate::config::problem::Problems;
use crate::config::sections::{Config, OddNames};
use crate::credential::Credentials;
use crate::environment::Environments;
use crate::facts::X_REQUEST_ID;
use crate::gate::{Caller, Connection, Permit, Seen};
use crate::identity::signed::Signature;
use crate::identity::template::{IdentityHeaders, Values};
use crate::net::client::Trust;
use crate::rejection::{Refusal, Rejection};
use crate::telemetry::spans::Context;
use crate::telemetry::spans::context::{TRACEPARENT, TRACESTATE};

/// De-facto forwarding header.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Names that concern one connection only (RFC 9110 §7.6.1), or that this proxy answers for itself.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "http2-settings",
    "expect",
];
/// Headers by which some upstreams let a request be another one; CGI takes `Proxy` for the environment's `HTTP_PROXY`.
const OVERRIDES: [&str; 6] = ["proxy", "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
/// Beyond `OVERRIDES`: whole families, behind their `x-`.
const OVERRIDE_PREFIXES: [&str; 2] = ["original-", "rewrite-"];

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Identity, ours alone.
    Reserved,
    /// Of this hop.
    HopByHop,
    /// Carries credentials; the gate took what is ours.
    Credential,
    /// Says where the request came from: believed of trusted peers only.
    Forwarding,
    /// Would make the request another one.
    Override,
}

/// The compiled rules.
#[derive(Debug)]
pub struct HeaderRules {
    fates: HeaderMap<Fate>,
    reserved_prefixes: Box<[Box<str>]>,
    odd_names: OddNames,
    identity: IdentityHeaders,
    signature: Option<Signature>,
}

impl HeaderRules {
    /// Compiles `[identity]` and everything else that reserves a name.
    pub fn compile(
        config: &Config,
        trust: &Trust,
        environments: &Environments,
        credentials: &Credentials,
        identity: &IdentityHeaders,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut fates = HeaderMap::<Fate>::default();
        let forwarding = [
            "forwarded",
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-forwarded-prefix",
            trust.header().as_str(),
        ];
        let mut decide = |name: &str, fate| {
            // What is no header's name is no client's either.
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                fates.insert(name, fate);
            }
        };
        for name in forwarding {
            decide(name, Fate::Forwarding);
        }
        for name in OVERRIDES {
            decide(name, Fate::Override);
        }
        credentials.headers().for_each(|name| decide(name.as_str(), Fate::Credential));
        decide(header::AUTHORIZATION.as_str(), Fate::Credential);
        for name in HOP_BY_HOP {
            decide(name, Fate::HopByHop);
        }
        identity.names().chain(environments.added_headers()).for_each(|name| decide(&folded(name.as_str()), Fate::Reserved));
        decide(X_REQUEST_ID.as_str(), Fate::Reserved);
        if !config.tracing.otlp_endpoint.is_empty() {
            // A trace is continued by us, or not at all.
            for name in [TRACEPARENT, TRACESTATE] {
                decide(name.as_str(), Fate::Reserved);
            }
        }
        let signature = Signature::compile(config, problems).ok()?;
        if let Some(signature) = &signature {
            decide(&folded(signature.name().as_str()), Fate::Reserved);
        }
        problems.keep("identity.headers", identity.check(&Values::NOBODY))?;
        Some(Self {
            fates,
            reserved_prefixes: config.identity.reserved_prefixes.iter().map(|prefix| folded(prefix)).collect(),
            odd_names: config.identity.odd_names,
            identity: identity.clone(),
            signature,
        })
    }

    /// Writes what the upstream may see of the client's fields, Host apart; forwarding headers only of a peer that is trusted.
    pub(super) fn pass_on(&self, headers: &HeaderMap, trusted: bool, out: &mut impl Fields) -> Result<(), Refusal> {
        let named = if headers.contains_key(header::CONNECTION) { self.named_in_connection(headers)? } else { SmallVec::new() };
        let (mut wants_trailers, mut announces) = (false, false);
        for (name, value) in headers {
            let passes = match self.fate(name) {
                Some(Fate::HopByHop) => {
                    wants_trailers |= *name == header::TE && tokens(value).any(|token| token.eq_ignore_ascii_case("trailers"));
                    announces |= *name == header::TRAILER;
                    false
                }
                Some(Fate::Reserved | Fate::Override) => false,
                // What is said of where the request came from is completed.
                Some(Fate::Forwarding) => trusted && *name != X_FORWARDED_FOR && !is_odd(name.as_str()),
                Some(Fate::Credential) => !is_odd(name.as_str()),
                None if is_odd(name.as_str()) => match self.odd_names {
                    OddNames::Drop => false,
                    OddNames::Keep => true,
                    OddNames::Reject => return Err(Rejection::RequestInvalid.because(format!("odd header name {name}"))),
                },
                None => *name != header::HOST,
            };
            if passes && !named.contains(name) {
                out.field(name, value);
            }
        }
        if wants_trailers {
            out.text(&header::TE, b"trailers");
        }
        if let Some(announced) = announces.then(|| self.announced(headers)).flatten() {
            out.announce(announced);
        }
        Ok(())
    }

    /// Headers that Connection names go with it; it must not name what is not the client's to remove.
    fn named_in_connection(&self, headers: &HeaderMap) -> Result<SmallVec<[HeaderName; 8]>, Refusal> {
        let mut named = SmallVec::new();
        for value in headers.get_all(header::CONNECTION) {
            if value.to_str().is_err() {
                return Err(Rejection::RequestInvalid.because("invalid Connection"));
            }
            for token in tokens(value) {
                let framing =
                    ["content-length", "transfer-encoding", "host", "x-request-id"].iter().any(|name| token.eq_ignore_ascii_case(name));
                let ours = matches!(self.fate_of_spelling(token), Some(Fate::Reserved | Fate::Credential | Fate::Forwarding));
                if framing || ours {
                    return Err(Rejection::RequestInvalid.because(format!("Connection names {}", token.escape_debug())));
                }
                if let Ok(name) = HeaderName::from_bytes(token.as_bytes()) {
                    named.push(name);
                }
            }
        }
        Ok(named)
    }

    /// What becomes of a name.
    fn fate(&self, name: &HeaderName) -> Option<Fate> {
        if is_odd(name.as_str()) { self.fate_of_spelling(name.as_str()) } else { self.fate_of_plain(name) }
    }

    /// The same of any spelling that an upstream could take for a name.
    fn fate_of_spelling(&self, spelling: &str) -> Option<Fate> {
        self.fate_of_plain(&HeaderName::from_bytes(folded(spelling).as_bytes()).ok()?)
    }

    fn fate_of_plain(&self, name: &HeaderName) -> Option<Fate> {
        if let Some(fate) = self.fates.get(name) {
            return Some(*fate);
        }
        let name = name.as_str();
        if self.reserved_prefixes.iter().any(|prefix| name.starts_with(&**prefix)) {
            return Some(Fate::Reserved);
        }
        let rest = name.strip_prefix("x-")?;
        if rest.starts_with("forwarded-") {
            return Some(Fate::Forwarding);
        }
        OVERRIDE_PREFIXES.iter().any(|prefix| rest.starts_with(prefix)).then_some(Fate::Override)
    }

    /// Says where the request came from: the peer is appended, scheme and host are set where no trusted proxy did.
    pub(super) fn set_forwarding(
        headers: &HeaderMap,
        host: Option<&HeaderValue>,
        connection: &Connection,
        trusted: bool,
        out: &mut impl Fields,
    ) {
        let said = |name: &HeaderName| trusted && headers.contains_key(name);
        match &connection.address {
            Some(address) if !said(&X_FORWARDED_FOR) => out.field(&X_FORWARDED_FOR, address),
            // What a trusted proxy sent is kept as it is, garbage included: it was judged, and the upstream may look at it too.
            Some(address) => {
                let lines = headers.get_all(X_FORWARDED_FOR).iter().chain([address]).map(HeaderValue::as_bytes);
                out.text(&X_FORWARDED_FOR, &lines.collect::<Vec<_>>().join(&b", "[..]));
            }
            None if trusted => headers.get_all(X_FORWARDED_FOR).iter().for_each(|line| out.field(&X_FORWARDED_FOR, line)),
            None => {}
        }
        if !said(&X_FORWARDED_PROTO) {
            out.text(&X_FORWARDED_PROTO, if connection.tls { b"https" } else { b"http" });
        }
        if let Some(host) = host.filter(|_| !said(&X_FORWARDED_HOST)) {
            out.field(&X_FORWARDED_HOST, host);
        }
    }

    /// What is said of a caller, and what his environment adds.
    fn identity_of<'a>(caller: &'a Caller, environments: &'a Environments) -> (Option<Values<'a>>, &'a [(HeaderName, HeaderValue)]) {
        match caller {
            Caller::Known(identity) => (Some(identity.values()), &environments.of(identity.environment).add_headers),
            Caller::Nobody => (Some(Values::NOBODY), &[]),
            Caller::Older | Caller::Preflight => (None, &[]),
        }
    }

    /// Who signs what is said of a caller.
    #[must_use]
    pub const fn signature(&self) -> Option<&Signature> {
        self.signature.as_ref()
    }

    /// Says who is calling, signed, where that is wanted and anybody is known.
    fn sign(&self, caller: &Caller, now: Timestamp, out: impl FnOnce(&HeaderName, &[u8])) -> Result<(), Refusal> {
        let (Some(signature), Caller::Known(identity)) = (&self.signature, caller) else { return Ok(()) };
        let Some(statement) = &identity.particulars().signed else { return Ok(()) };
        let told = signature.tell(statement, now, |token| out(signature.name(), token));
        told.ok_or_else(|| Rejection::Internal.because("the identity could not be signed"))
    }

    /// Says who is calling.
    pub(super) fn set_identity(
        &self,
        permit: &Permit,
        environments: &Environments,
        (seen, now): (&Seen, Timestamp),
        out: &mut impl Fields,
    ) -> Result<(), Refusal> {
        let (values, added) = Self::identity_of(permit.caller(), environments);
        if let Some(values) = values {
            self.identity.tell(&values, |name, value| {
                if !added.iter().any(|(other, _)| other == name) {
                    out.text(name, value);
                }
            });
        }
        for (name, value) in added {
            out.field(name, value);
        }
        out.once(&X_REQUEST_ID, seen.request_id.as_bytes());
        self.sign(permit.caller(), now, |name, token| out.text(name, token))
    }

    /// Says which trace it belongs to; what vendors have added goes on with a trace that is continued, and with no other.
    pub(super) fn set_trace(context: &Context, sent: &HeaderMap, out: &mut impl Fields) {
        out.once(&TRACEPARENT, &context.traceparent());
        if context.parent.is_some() {
            sent.get_all(TRACESTATE).iter().for_each(|line| out.field(&TRACESTATE, line));
        }
    }
}

/// Whether a name has a character other than letter, digit and `-`: some upstreams map those to `_` or `-` and see another name.
fn is_odd(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The name as such an upstream sees it.
fn folded(name: &str) -> Box<str> {
    name.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_lowercase()) } else { '-' })
        .collect::<String>()
        .into()
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::net::Peer;

    pub(super) fn rules(toml: &str) -> HeaderRules {
        let config: Config = toml::from_str(toml).unwrap();
        let mut problems = Problems::default();
        let problems = &mut problems;
        let trust = Trust::compile(&config, problems).unwrap();
        let environments = Environments::compile(&config, problems).unwrap();
        let credentials = Credentials::compile(&config, problems).unwrap();
        let identity = IdentityHeaders::compile(&config, problems).unwrap();
        HeaderRules::compile(&config, &trust, &environments, &credentials, &identity, problems).unwrap()
    }

    fn cleaned(toml: &str, lines: &[(&str, &str)]) -> Result<Vec<String>, Rejection> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let mut passed = HeaderMap::new();
        rules(toml).pass_on(&headers, false, &mut passed).map_err(|refusal| refusal.rejection)?;
        Ok(passed.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    #[test]
    fn identity_headers_are_removed_in_every_spelling() {
        for name in
            ["X-Tenant-Id", "x_tenant_id", "X.Tenant.Id", "X!Tenant-Id", "x~tenant`id", "X^TENANT|ID", "x-auth-scopes", "X_AUTH-KEY_ID"]
        {
            for odd_names in ["drop", "keep"] {
                assert_eq!(
                    cleaned(&format!("[identity]\nodd_names = \"{odd_names}\""), &[(name, "evil"), ("accept", "*/*")]).unwrap(),
                    ["accept: */*"],
                    "{name}"
                );
            }
        }
        assert_eq!(
            cleaned("[identity]\nreserved_prefixes = [\"X-Auth-\"]", &[("x-auth-anything", "1"), ("x_auth_else", "1")]).unwrap(),
            [""; 0]
        );
    }

    #[test]
    fn connection_removes_what_it_names_but_never_what_is_ours() {
        assert_eq!(cleaned("", &[("connection", "close, X-Hop"), ("x-hop", "1"), ("x-kept", "1")]).unwrap(), ["x-kept: 1"]);
        for token in [
            "x-tenant-id",
            "X_Tenant_Id",
            "authorization",
            "x-api-key",
            "content-length",
            "Transfer-Encoding",
            "host",
            "x-forwarded-for",
            "X-Request-Id",
        ] {
            assert_eq!(cleaned("", &[("connection", token)]), Err(Rejection::RequestInvalid), "{token}");
        }
    }

    #[test]
    fn odd_names_are_dropped_refused_or_kept() {
        let lines = [("x_custom", "1"), ("x-custom", "2")];
        assert_eq!(cleaned("", &lines).unwrap(), ["x-custom: 2"]);
        assert_eq!(cleaned("[identity]\nodd_names = \"reject\"", &lines), Err(Rejection::RequestInvalid));
        assert_eq!(cleaned("[identity]\nodd_names = \"keep\"", &lines).unwrap().len(), 2);
    }

    #[test]
    fn overrides_upgrades_and_hop_by_hop_headers_are_dropped() {
        let lines = [
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x-rewrite-anything", "1"),
            ("x_original_url", "/admin"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "trailers, gzip"),
            ("keep-alive", "1"),
            ("content-length", "5"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("proxy", "http://evil"),
            ("x_request_id", "forged-id"),
        ];
        assert_eq!(cleaned("[identity]\nodd_names = \"keep\"", &lines).unwrap(), ["te: trailers"]);
    }

    #[test]
    fn forwarding_headers_of_strangers_are_replaced_and_of_trusted_proxies_kept() {
        let lines = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "gopher"),
            ("forwarded", "for=1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-user", "root"),
        ];
        let set = |trusted: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(name, HeaderValue::from_static(value));
            }
            headers.insert(header::HOST, HeaderValue::from_static("a.example"));
            let mut out = HeaderMap::new();
            rules("").pass_on(&headers, trusted, &mut out).unwrap();
            let peer = Connection::new(Peer::Ip([203, 0, 113, 9].into()), true);
            HeaderRules::set_forwarding(&headers, headers.get(header::HOST), &peer, trusted, &mut out);
            out
        };
        let stranger = set(false);
        assert_eq!(stranger["x-forwarded-for"], "203.0.113.9");
        assert_eq!(stranger["x-forwarded-proto"], "https");
        assert_eq!(stranger["x-forwarded-host"], "a.example");
        assert!(["forwarded", "x-real-ip", "x-forwarded-user"].iter().all(|name| !stranger.contains_key(*name)));
        let trusted = set(true);
        assert_eq!(trusted["x-forwarded-for"], "1.1.1.1, 203.0.113.9");
        assert_eq!(trusted["x-forwarded-proto"], "gopher");
        assert!(["forwarded", "x-real-ip", "x-forwarded-user"].iter().all(|name| trusted.contains_key(*name)));
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_reserved_name_is_left(separators in proptest::collection::vec("[-!#$%&'*+.^_`|~]", 2), upper in any::<bool>()) {
            let name = format!("x{}tenant{}id", separators[0], separators[1]);
            let name = if upper { name.to_uppercase() } else { name };
            prop_assert_eq!(cleaned("[identity]\nodd_names = \"keep\"", &[(&name, "evil")]).unwrap().len(), 0);
        }
    }
}
