//! The native key: prefix + 32 random base62 characters + 6 base62 digits of CRC-32 (ISO-HDLC) over all that precedes.
//! A wrong checksum proves a typo or a guess without asking the store; a right one proves nothing.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Random characters after the prefix.
pub const RANDOM_LEN: usize = 32;
/// Checksum digits at the end.
pub const CHECKSUM_LEN: usize = 6;

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no randomness")]
pub struct NoRandomness;

/// `n` random base62 characters.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn random_base62(n: usize) -> Result<Zeroizing<String>, NoRandomness> {
    let rng = SystemRandom::new();
    let mut out = Zeroizing::new(String::with_capacity(n));
    let mut buf = Zeroizing::new([0_u8; 64]);
    while out.len() < n {
        rng.fill(buf.as_mut()).map_err(|_| NoRandomness)?;
        // 248 = 4 × 62: larger bytes are thrown away, so that each character is equally likely.
        for byte in buf.iter().filter(|byte| **byte < 248).take(n - out.len()) {
            out.push(base62_digit(u32::from(*byte)));
        }
    }
    Ok(out)
}

fn base62_digit(n: u32) -> char {
    char::from(BASE62.get((n % 62) as usize).copied().unwrap_or(b'0'))
}

/// A new key of this prefix.
///
/// # Errors
/// If the operating system gives no randomness.
pub fn generate(prefix: &str) -> Result<SecretString, NoRandomness> {
    let random = random_base62(RANDOM_LEN)?;
    let mut key = String::with_capacity(prefix.len() + RANDOM_LEN + CHECKSUM_LEN);
    key.push_str(prefix);
    key.push_str(&random);
    let sum = checksum(key.as_bytes());
    key.extend(sum.iter().map(|byte| char::from(*byte)));
    Ok(SecretString::from(key))
}

/// The six digits that belong behind `text`.
#[must_use]
pub fn checksum(text: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get((rest % 62) as usize).copied().unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// Whether `key` is of the native format behind a prefix of `prefix_len` bytes: length, alphabet and checksum.
#[must_use]
pub fn is_native(key: &[u8], prefix_len: usize) -> bool {
    let Some((_, rest)) = key.split_at_checked(prefix_len) else { return false };
    if rest.len() != RANDOM_LEN + CHECKSUM_LEN || !rest.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    key.split_at_checked(key.len() - CHECKSUM_LEN).is_some_and(|(head, sum)| checksum(head) == sum)
}

/// The last four characters, which lists show.
#[must_use]
pub fn last4(key: &SecretString) -> String {
    let text = key.expose_secret();
    text.chars().skip(text.chars().count().saturating_sub(4)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksum_is_crc32_iso_hdlc_in_base62() {
        // CRC-32/ISO-HDLC of "123456789" is 0xCBF43926 = 3421780262 = 3·62^5 + 45·62^4 + 35·62^3 + 18·62^2 + 46·62 + 34.
        let value: u64 = 3_421_780_262;
        let mut expected = Vec::new();
        for power in (0..6).rev() {
            expected.push(BASE62[usize::try_from(value / 62_u64.pow(power) % 62).unwrap()]);
        }
        assert_eq!(checksum(b"123456789").to_vec(), expected);
    }

    proptest! {
        #[test]
        fn generated_keys_are_native_and_one_wrong_character_is_refused(position in 0_usize..46, replacement in "[0-9A-Za-z]") {
            let key = generate("sk_live_").unwrap();
            let text = key.expose_secret();
            prop_assert!(is_native(text.as_bytes(), 8));
            let mut broken = text.as_bytes().to_vec();
            prop_assume!(position >= 8 && broken[position] != replacement.as_bytes()[0]);
            broken[position] = replacement.as_bytes()[0];
            prop_assert!(!is_native(&broken, 8));
        }
    }

    #[test]
    fn length_and_alphabet_are_exact() {
        let key = generate("sk_live_").unwrap();
        let text = key.expose_secret();
        assert!(!is_native(&text.as_bytes()[..45], 8));
        assert!(!is_native(format!("{text}0").as_bytes(), 8));
        assert!(!is_native(text.as_bytes(), 7));
        assert!(!is_native(b"", 8));
    }
}
