//! How digests are written in files: the algorithm before a colon. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::key::digest::{Digest, Peppers, StoredDigest};

/// SHA-256 of the key, hex.
pub(crate) const SHA256: &str = "sha256";
/// What a table with a pepper stores, hex.
pub(crate) const HMAC_SHA256: &str = "hmac-sha256";
/// SHA-256 of the key, base64.
const SHA256_BASE64: &str = "sha256-base64";

/// What the store is to know the key by; then what a table may know it by that has older peppers.
pub(super) fn stored(text: &str, peppers: &Peppers) -> Result<Vec<StoredDigest>, String> {
    let (algorithm, value) = text.split_once(':').unwrap_or_default();
    let sha256 = match algorithm.to_ascii_lowercase().replace('_', "-").as_str() {
        SHA256 => StoredDigest::from_hex(value),
        SHA256_BASE64 => from_base64(value),
        HMAC_SHA256 if peppers.is_empty() => {
            return Err("a digest under a pepper is of use only with the same store.pepper_file, and there is none".into());
        }
        HMAC_SHA256 => {
            return StoredDigest::from_hex(value).map(|it| vec![it]).ok_or_else(|| format!("{HMAC_SHA256}: needs 64 hex digits"));
        }
        _ => None,
    };
    let sha256 =
        sha256.ok_or_else(|| format!("`digest` must be {SHA256}: and 64 hex digits, or {SHA256_BASE64}: and 32 bytes in base64"))?;
    Ok(peppers.candidates(&Digest(sha256.0)).collect())
}

/// As an export writes what is stored.
pub(crate) fn shown(hex: &str, peppers: &Peppers) -> String {
    format!("{}:{hex}", if peppers.is_empty() { SHA256 } else { HMAC_SHA256 })
}

/// Whether this is written as a digest, of whatever table: the algorithm, and 32 bytes as it writes them.
pub(super) fn is_one(text: &str) -> bool {
    let (algorithm, value) = text.split_once(':').unwrap_or_default();
    match algorithm.to_ascii_lowercase().replace('_', "-").as_str() {
        SHA256 | HMAC_SHA256 => StoredDigest::from_hex(value).is_some(),
        SHA256_BASE64 => from_base64(value).is_some(),
        _ => false,
    }
}

/// A SHA-256 that does not say how it is written, as other systems keep it.
pub(super) fn of_bare(text: &str) -> Option<StoredDigest> {
    StoredDigest::from_hex(text).or_else(|| from_base64(text))
}

/// 32 bytes in either alphabet, padded or not.
pub(super) fn from_base64(text: &str) -> Option<StoredDigest> {
    let text = text.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()?;
    bytes.try_into().ok().map(StoredDigest)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretSlice;

    use super::*;

    #[test]
    fn every_form_of_a_sha256_is_the_same_digest() {
        let expected = StoredDigest(Digest::of(b"sk_live_x").0);
        let padded = base64::engine::general_purpose::STANDARD.encode(expected.0);
        let hex = expected.to_hex();
        for text in [
            format!("sha256:{hex}"),
            format!("SHA256:{}", hex.to_uppercase()),
            format!("sha256-base64:{padded}"),
            format!("sha256_base64:{}", URL_SAFE_NO_PAD.encode(expected.0)),
        ] {
            assert_eq!(stored(&text, &Peppers::default()), Ok(vec![expected]), "{text}");
        }
        assert_eq!(of_bare(&hex), Some(expected));
        assert_eq!(of_bare(&padded), Some(expected));
        for bad in ["", &hex, "sha256:", "md5:00", &format!("sha256:{padded}"), &format!("sha256-base64:{hex}"), "hmac-sha256:00"] {
            assert!(stored(bad, &Peppers::default()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_under_a_pepper_stays_as_it_is_and_needs_one() {
        let peppers = Peppers::from_lines(&SecretSlice::from(b"pepper".to_vec()));
        let under = peppers.store(&Digest::of(b"sk_live_x"));
        let text = shown(&under.to_hex(), &peppers);
        assert!(text.starts_with("hmac-sha256:"));
        assert_eq!(stored(&text, &peppers), Ok(vec![under]));
        assert!(stored(&text, &Peppers::default()).unwrap_err().contains("pepper"));
        let plain = format!("sha256:{}", StoredDigest(Digest::of(b"sk_live_x").0).to_hex());
        assert_eq!(stored(&plain, &peppers), Ok(vec![under]));
    }
}
