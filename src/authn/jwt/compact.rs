//! A token as it is sent (RFC 7515 §3.1): three segments of canonical base64url, a header and a payload that can be read in one way
//! only. Nothing of the header is believed: it is compared with what is configured, and what names keys elsewhere is not read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::algorithm::Algorithm;
use super::json::{Json, Members};
use crate::rejection::{Refusal, Rejection};

/// Longest token, bytes.
pub const TOKEN_MAX: usize = 8 << 10;
/// Longest `kid`, bytes.
const KID_MAX: usize = 256;

/// A token, taken apart. Nothing in it is verified.
#[derive(Debug)]
pub struct Compact<'t> {
    /// What is signed: header and payload as they were sent.
    pub signed: &'t [u8],
    /// Over that.
    pub signature: Vec<u8>,
    /// What the header claims; `None` for an algorithm that is not known here.
    pub algorithm: Option<Algorithm>,
    /// Name of the key, if the header says one.
    pub kid: Option<String>,
    payload: Vec<u8>,
}

/// Whether this looks like a token: three segments of base64url, of which only the signature may be missing.
#[must_use]
pub fn is_candidate(text: &[u8]) -> bool {
    let mut dots = memchr::memchr_iter(b'.', text);
    let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else { return false };
    // Without an early end, so that many bytes are looked at at once.
    let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() | matches!(byte, b'-' | b'_' | b'.');
    first > 0 && second > first + 1 && text.iter().fold(true, |all, byte| all & is_usual(byte))
}

impl<'t> Compact<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// `jwt_malformed`.
    pub fn parse(text: &'t [u8]) -> Result<Self, Refusal> {
        let malformed = |why: &str| Rejection::JwtMalformed.because(why.to_owned());
        if text.len() > TOKEN_MAX {
            return Err(malformed("longer than 8 KiB"));
        }
        let mut segments = text.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) = (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(malformed("not three segments"));
        };
        let signed = text.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let decode = |what: &str, segment: &[u8]| {
            URL_SAFE_NO_PAD.decode(segment).map_err(|_| malformed(&format!("{what}: not canonical base64url without padding")))
        };
        let header = decode("header", header)?;
        let header = Json::object(&header).map_err(|why| malformed(&format!("header: {why}")))?;
        let (algorithm, kid) = judge_header(&header).map_err(|why| malformed(&format!("header: {why}")))?;
        Ok(Self { signed, signature: decode("signature", signature)?, algorithm, kid, payload: decode("payload", payload)? })
    }

    /// The payload: what the token claims.
    ///
    /// # Errors
    /// `jwt_malformed`.
    pub(super) fn claims(&self) -> Result<Members, Refusal> {
        Json::object(&self.payload).map_err(|why| Rejection::JwtMalformed.because(format!("payload: {why}")))
    }
}

/// `alg`, `kid` and that nothing else changes the token's meaning. `jku`, `jwk`, `x5u` and `x5c` are not looked at.
fn judge_header(header: &Members) -> Result<(Option<Algorithm>, Option<String>), String> {
    let wrong = |name: &str, value: &Json| format!("{name} is {}", value.kind());
    // Who does not know what it names must refuse it (RFC 7515 §4.1.11), and no extension is known here.
    if header.contains_key("crit") {
        return Err("crit is present".into());
    }
    match header.get("typ") {
        None => {}
        Some(Json::Text(typ)) if is_access_token(typ) => {}
        Some(Json::Text(_)) => return Err("typ is neither JWT nor at+jwt".into()),
        Some(other) => return Err(wrong("typ", other)),
    }
    let algorithm = match header.get("alg") {
        Some(Json::Text(name)) => Algorithm::named(name),
        Some(other) => return Err(wrong("alg", other)),
        None => return Err("alg is missing".into()),
    };
    let kid = match header.get("kid") {
        None => None,
        Some(Json::Text(kid)) if kid.len() <= KID_MAX => Some(kid.clone()),
        Some(Json::Text(_)) => return Err(format!("kid is longer than {KID_MAX} bytes")),
        Some(other) => return Err(wrong("kid", other)),
    };
    Ok((algorithm, kid))
}

/// Media types are compared without regard to case, and `application/` may be left out (RFC 7515 §4.1.9, RFC 9068 §2.1).
fn is_access_token(typ: &str) -> bool {
    let short = typ.split_at_checked(12).filter(|(front, _)| front.eq_ignore_ascii_case("application/")).map_or(typ, |(_, rest)| rest);
    short.eq_ignore_ascii_case("jwt") || short.eq_ignore_ascii_case("at+jwt")
}
