//! What was given for a refresh token, kept for who presents it once more a moment later: sealed (AES-256-GCM) under a key that is
//! derived (HKDF) from that token, which is not stored, and from who presented it. Who has the store has neither.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::key::digest::Peppers;

/// Tells the format of what is sealed.
const FORMAT: u8 = 1;

/// For whom something is sealed.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    /// The refresh token that was presented.
    pub(super) token: &'a SecretString,
    pub(super) session: &'a str,
    /// Id of the key it was presented with; empty = none was asked for.
    pub(super) caller: &'a str,
}

/// What keys are derived from: one for each pepper, or one without. The first seals, all open.
#[derive(Clone)]
pub(super) struct Seals(Vec<hmac::Key>);

impl Seals {
    pub(super) fn new(peppers: &Peppers) -> Self {
        let mut roots: Vec<hmac::Key> = peppers.session_keys().cloned().collect();
        if roots.is_empty() {
            roots.push(hmac::Key::new(hmac::HMAC_SHA256, b"sidegate sessions v1"));
        }
        Self(roots)
    }

    pub(super) fn seal(&self, holder: Holder<'_>, mut content: Vec<u8>) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let key = key(self.0.first()?, holder)?;
        let place = Aad::from(holder.session.as_bytes());
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), place, &mut content).ok()?;
        Some(STANDARD_NO_PAD.encode([&[FORMAT], &nonce[..], &content, tag.as_ref()].concat()))
    }

    pub(super) fn open(&self, holder: Holder<'_>, sealed: &str) -> Option<Vec<u8>> {
        let sealed = STANDARD_NO_PAD.decode(sealed).ok()?;
        let (format, rest) = sealed.split_first()?;
        let (nonce, content) = rest.split_first_chunk::<NONCE_LEN>().filter(|_| *format == FORMAT)?;
        self.0.iter().find_map(|root| {
            let mut content = content.to_vec();
            let place = Aad::from(holder.session.as_bytes());
            let length = key(root, holder)?.open_in_place(Nonce::assume_unique_for_key(*nonce), place, &mut content).ok()?.len();
            content.truncate(length);
            Some(content)
        })
    }
}

fn key(root: &hmac::Key, holder: Holder<'_>) -> Option<LessSafeKey> {
    let mut salt = hmac::Context::with_key(root);
    for part in [holder.session, holder.caller] {
        salt.update(&(part.len() as u64).to_be_bytes());
        salt.update(part.as_bytes());
    }
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt.sign().as_ref()).extract(holder.token.expose_secret().as_bytes());
    let derived = derived.expand(&[b"sidegate refreshed pair v1"], &AES_256_GCM).ok().map(UnboundKey::from);
    derived.map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretSlice;

    use super::*;

    fn seals(peppers: &str) -> Seals {
        Seals::new(&Peppers::from_lines(&SecretSlice::from(peppers.as_bytes().to_vec())))
    }

    #[test]
    fn only_who_presents_the_same_token_in_the_same_name_opens_it() {
        let (token, other) = (SecretString::from("rt_one"), SecretString::from("rt_two"));
        for peppers in ["", "p"] {
            let seals = seals(peppers);
            let holder = Holder { token: &token, session: "ses_1", caller: "key_1" };
            let sealed = seals.seal(holder, b"a pair".to_vec()).unwrap();
            assert_eq!(seals.open(holder, &sealed).unwrap(), b"a pair");
            for stranger in [
                Holder { token: &other, ..holder },
                Holder { session: "ses_2", ..holder },
                Holder { caller: "key_2", ..holder },
                Holder { caller: "", ..holder },
            ] {
                assert!(seals.open(stranger, &sealed).is_none());
            }
            for end in 0..sealed.len() {
                assert!(seals.open(holder, &sealed[..end]).is_none(), "{end}");
            }
        }
    }

    #[test]
    fn what_an_older_pepper_sealed_opens() {
        let token = SecretString::from("rt_one");
        let holder = Holder { token: &token, session: "ses_1", caller: "" };
        let sealed = seals("old").seal(holder, b"a pair".to_vec()).unwrap();
        assert_eq!(seals("new\nold").open(holder, &sealed).unwrap(), b"a pair");
        assert!(seals("new").open(holder, &sealed).is_none() && seals("").open(holder, &sealed).is_none());
    }
}
