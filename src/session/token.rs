//! Refresh tokens: `rt_`, their session's id, the version of its record that they are the current token of, 32 random base62 characters,
//! and a mark by which the session knows its own for ever, long after it has forgotten their digests. The mark lets nobody in; it tells
//! a token that was used before from one that never was, and by its version from one that the store has forgotten.

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use secrecy::SecretString;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::key::format::{NoRandomness, RANDOM_LEN, random_base62};

const TOKEN_PREFIX: &str = "rt_";
const SESSION_PREFIX: &str = "ses_";
/// Base62 characters of a session's id, behind its prefix.
const ID_LEN: usize = 20;
/// Hex digits of the version.
const VERSION_LEN: usize = 8;
/// Hex digits of the mark.
const MARK_LEN: usize = 16;

/// A new id of a session.
pub(super) fn new_id() -> Result<String, NoRandomness> {
    Ok(format!("{SESSION_PREFIX}{}", *random_base62(ID_LEN)?))
}

/// What the tokens of a new session are marked with.
pub(super) fn new_family() -> Result<String, NoRandomness> {
    Ok(random_base62(RANDOM_LEN)?.to_string())
}

/// The refresh token of this session that its record has from this version on.
pub(super) fn generate(session: &str, family: &str, version: u64) -> Result<SecretString, NoRandomness> {
    let random = random_base62(RANDOM_LEN)?;
    let id = session.strip_prefix(SESSION_PREFIX).unwrap_or(session);
    let mut token = Zeroizing::new(String::with_capacity(TOKEN_PREFIX.len() + id.len() + VERSION_LEN + RANDOM_LEN + MARK_LEN));
    token.push_str(TOKEN_PREFIX);
    token.push_str(id);
    let _ = write!(token, "{:0VERSION_LEN$x}", u32::try_from(version).unwrap_or(u32::MAX));
    token.push_str(&random);
    let mark = mark(&token, family);
    token.push_str(&mark);
    Ok(SecretString::from(token.as_str()))
}

/// The session that a token names; `None` = it is none.
pub(super) fn session_of(token: &str) -> Option<String> {
    let rest = token.strip_prefix(TOKEN_PREFIX)?;
    let is_whole = rest.len() == ID_LEN + VERSION_LEN + RANDOM_LEN + MARK_LEN && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let id = rest.get(..ID_LEN).filter(|_| is_whole)?;
    Some(format!("{SESSION_PREFIX}{id}"))
}

/// Whether this has the form of a refresh token.
pub(crate) fn is_candidate(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| session_of(text).is_some())
}

/// The version of its session's record that a token was made with; 0 if it is none.
pub(super) fn version_of(token: &str) -> u64 {
    let start = TOKEN_PREFIX.len() + ID_LEN;
    token.get(start..start + VERSION_LEN).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}

/// Whether a token was made for the session that has this mark.
pub(super) fn is_of(token: &str, family: &str) -> bool {
    let Some((body, told)) = token.len().checked_sub(MARK_LEN).and_then(|end| token.split_at_checked(end)) else { return false };
    mark(body, family).as_bytes().ct_eq(told.as_bytes()).into()
}

fn mark(body: &str, family: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, family.as_bytes()), body.as_bytes());
    tag.as_ref().iter().take(MARK_LEN / 2).fold(String::with_capacity(MARK_LEN), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_token_names_its_session_and_is_known_by_its_mark() {
        let (session, family, other) = (new_id().unwrap(), new_family().unwrap(), new_family().unwrap());
        let token = generate(&session, &family, 258).unwrap();
        let text = token.expose_secret();
        assert_eq!((session_of(text).as_ref(), version_of(text)), (Some(&session), 258));
        assert!(is_of(text, &family) && !is_of(text, &other));
        for index in TOKEN_PREFIX.len()..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[index] = if changed[index] == b'0' { b'1' } else { b'0' };
            assert!(!is_of(str::from_utf8(&changed).unwrap(), &family), "{index}");
        }
    }

    #[test]
    fn what_is_no_token_names_no_session() {
        let token = generate(&new_id().unwrap(), &new_family().unwrap(), 1).unwrap();
        let text = token.expose_secret();
        for bad in [
            "",
            "rt_",
            "é",
            text.get(1..).unwrap(),
            text.get(..text.len() - 1).unwrap(),
            &format!("{text}0"),
            &text.replacen("rt_", "sk_", 1),
            &text.replace('a', "/"),
        ] {
            assert!(session_of(bad).is_none() || bad == text, "{bad}");
            assert!(!is_of(&format!("é{bad}"), "family"));
        }
    }
}
