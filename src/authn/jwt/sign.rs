//! Makes tokens: one key, read from a file, by which algorithm it is for (Ed25519 in PEM, else a secret for HS256). What it has
//! signed verifies as any issuer's does. The key is never shown; its public half is, as a JSON Web Key.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::algorithm::{Algorithm, Key};
use crate::key::digest::Digest;

/// Shortest secret, bytes (RFC 7518 §3.2).
const SECRET_MIN: usize = 32;

/// A key that signs.
pub struct Signer {
    material: Material,
    kid: Option<String>,
    /// The header of its tokens and the dot behind it, as they are sent.
    front: String,
}

enum Material {
    Secret(Box<hmac::Key>),
    Edwards(Box<Ed25519KeyPair>),
}

impl Signer {
    /// From what a file holds: an Ed25519 key in PEM (PKCS #8), or secrets, one a line, of which the first signs.
    ///
    /// # Errors
    /// Why it holds no key; never anything of what it holds.
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        if memchr::memmem::find(file, b"-----BEGIN").is_some() {
            return Self::edwards(file);
        }
        let secret = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
        let secret = secret.ok_or("it holds no key")?;
        if secret.len() < SECRET_MIN {
            return Err(format!("a secret of {} bytes: HS256 asks for {SECRET_MIN} and more (RFC 7518 §3.2)", secret.len()));
        }
        Ok(Self::new(Material::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret))), None))
    }

    fn edwards(file: &[u8]) -> Result<Self, String> {
        let unfit = || "it holds no Ed25519 private key in PEM (-----BEGIN PRIVATE KEY-----)".to_owned();
        let key = PrivatePkcs8KeyDer::from_pem_slice(file).map_err(|_| unfit())?;
        let pair = Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| unfit())?;
        // RFC 7638, of the members that RFC 8037 §2 requires.
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let thumbprint = Digest::of(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
        Ok(Self::new(Material::Edwards(Box::new(pair)), Some(URL_SAFE_NO_PAD.encode(thumbprint.0))))
    }

    fn new(material: Material, kid: Option<String>) -> Self {
        let mut signer = Self { material, kid, front: String::new() };
        let mut header = json!({ "alg": signer.algorithm().to_string(), "typ": "JWT" });
        if let (Some(kid), Some(header)) = (&signer.kid, header.as_object_mut()) {
            header.insert("kid".into(), kid.as_str().into());
        }
        signer.front = URL_SAFE_NO_PAD.encode(header.to_string()) + ".";
        signer
    }

    /// By which it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Secret(_) => Algorithm::Hs256,
            Material::Edwards(_) => Algorithm::EdDsa,
        }
    }

    /// The key's name in its tokens: its thumbprint (RFC 7638); none where it is a secret.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// A token with these claims.
    ///
    /// # Errors
    /// The library could not sign.
    pub fn sign(&self, claims: &Value) -> Result<String, String> {
        let mut token = self.front.clone();
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signature = match &self.material {
            Material::Secret(key) => URL_SAFE_NO_PAD.encode(hmac::sign(key, token.as_bytes())),
            Material::Edwards(pair) => {
                URL_SAFE_NO_PAD.encode(pair.try_sign(token.as_bytes()).map_err(|_| "the token could not be signed".to_owned())?)
            }
        };
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// The key that verifies what this one signs.
    ///
    /// # Errors
    /// Never in practice: the public half of a key is a key.
    pub fn verifier(&self) -> Result<Key, String> {
        match &self.material {
            Material::Secret(key) => Ok(Key::shared((**key).clone())),
            Material::Edwards(pair) => Key::edwards(pair.public_key().as_ref()),
        }
    }

    /// Its public half as a JSON Web Key (RFC 7517, RFC 8037); a secret has none.
    #[must_use]
    pub fn jwk(&self) -> Option<Value> {
        let Material::Edwards(pair) = &self.material else { return None };
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        Some(json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": "EdDSA", "use": "sig" }))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm()).field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::compact::Compact;
    use super::super::jwk::KeySet;
    use super::*;

    /// RFC 8037 A.1, as PKCS #8.
    const EDWARDS: &str =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const SECRET: &str = "\n0123456789abcdef0123456789abcdef\nan older one\n";

    #[test]
    fn what_it_signs_verifies_by_its_own_key_and_by_the_document_it_publishes() {
        for file in [EDWARDS, SECRET] {
            let signer = Signer::parse(file.as_bytes()).unwrap();
            let token = signer.sign(&json!({ "sub": "ada", "exp": 1 })).unwrap();
            let parsed = Compact::parse(token.as_bytes()).unwrap();
            assert_eq!((parsed.algorithm, parsed.kid.as_deref()), (Some(signer.algorithm()), signer.kid()));
            assert_eq!(KeySet::unnamed([signer.verifier().unwrap()]).have_signed(&parsed, signer.algorithm()), Ok(true));
            let Some(jwk) = signer.jwk() else { continue };
            let published = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), &[Algorithm::EdDsa]).unwrap();
            assert_eq!(published.have_signed(&parsed, Algorithm::EdDsa), Ok(true));
        }
    }

    #[test]
    fn the_key_of_the_standard_has_the_name_of_the_standard() {
        let signer = Signer::parse(EDWARDS.as_bytes()).unwrap();
        // RFC 8037 A.2 and A.3.
        assert_eq!(signer.jwk().unwrap()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert_eq!(signer.kid(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    }

    #[test]
    fn what_is_no_key_or_a_weak_one_is_refused_without_being_shown() {
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        for bad in
            ["", "\n \n", "0123456789abcdef0123456789abcde", public, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            let why = Signer::parse(bad.as_bytes()).unwrap_err();
            assert!(!why.contains("0123456789"), "{why}");
        }
    }
}
