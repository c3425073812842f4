//! Keys that tokens are signed with here: Ed25519, or a secret that only those know who verify too. A key's name is made of the key,
//! so that it is the same in every sidecar; what is published of it verifies and signs nothing.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::Serialize;
use serde_json::{Value, json};

use super::algorithm::{Algorithm, Key};

/// Shortest secret, bytes (RFC 7518 §3.2).
const SECRET_MIN: usize = 32;

/// A key to sign with.
pub struct SigningKey {
    kid: Box<str>,
    material: Material,
}

enum Material {
    Edwards(Box<Ed25519KeyPair>),
    Secret(Box<hmac::Key>),
}

impl SigningKey {
    /// The keys of a file, newest first: private keys in PEM, or a secret a line.
    ///
    /// # Errors
    /// Why nothing is signed with it. Never what stands in it.
    pub fn read(file: &[u8]) -> Result<Vec<Self>, String> {
        let keys = if file.trim_ascii_start().starts_with(b"-----BEGIN") {
            let blocks = PrivatePkcs8KeyDer::pem_slice_iter(file).collect::<Result<Vec<_>, _>>();
            blocks.map_err(|error| error.to_string())?.iter().map(|block| Self::edwards(block.secret_pkcs8_der())).collect()
        } else {
            let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            lines.map(Self::secret).collect::<Result<Vec<_>, _>>()
        };
        match keys {
            Ok(keys) if keys.is_empty() => Err("it holds neither an Ed25519 key (-----BEGIN PRIVATE KEY-----) nor a secret".into()),
            keys => keys,
        }
    }

    fn edwards(pkcs8: &[u8]) -> Result<Self, String> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| "a private key that is not Ed25519 in PKCS #8".to_owned())?;
        let kid = thumbprint(&URL_SAFE_NO_PAD.encode(pair.public_key()));
        Ok(Self { kid, material: Material::Edwards(Box::new(pair)) })
    }

    /// The names of all keys of a file that something could be signed with here: private or public keys in PEM, JSON Web Keys, secrets.
    #[must_use]
    pub fn names(file: &[u8]) -> Vec<Box<str>> {
        if let Ok(Value::Object(document)) = serde_json::from_slice(file) {
            let keys = document.get("keys").and_then(Value::as_array).into_iter().flatten();
            return keys.filter_map(|key| key.get("x").and_then(Value::as_str)).map(thumbprint).collect();
        }
        if !file.trim_ascii_start().starts_with(b"-----BEGIN") {
            let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            return lines.filter_map(|line| Some(Self::secret(line).ok()?.kid)).collect();
        }
        let private =
            PrivatePkcs8KeyDer::pem_slice_iter(file).filter_map(|block| Some(Self::edwards(block.ok()?.secret_pkcs8_der()).ok()?.kid));
        // The key is what such a block ends with.
        let public = SubjectPublicKeyInfoDer::pem_slice_iter(file)
            .filter_map(|block| Some(thumbprint(&URL_SAFE_NO_PAD.encode(block.ok()?.last_chunk::<ED25519_PUBLIC_KEY_LEN>()?))));
        private.chain(public).collect()
    }

    fn secret(line: &[u8]) -> Result<Self, String> {
        if line.len() < SECRET_MIN {
            return Err(format!("a secret of {} bytes can be guessed: at least {SECRET_MIN}", line.len()));
        }
        let secret = hmac::Key::new(hmac::HMAC_SHA256, line);
        // A thumbprint would be a plain hash of the secret. This tells no more than a signature does.
        let name = hmac::sign(&secret, b"sidegate key name v1");
        let kid = URL_SAFE_NO_PAD.encode(name.as_ref().get(..16).unwrap_or_default());
        Ok(Self { kid: kid.into(), material: Material::Secret(Box::new(secret)) })
    }

    /// Its name in tokens.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Edwards(_) => Algorithm::EdDsa,
            Material::Secret(_) => Algorithm::Hs256,
        }
    }

    /// What verifies what it has signed.
    ///
    /// # Errors
    /// Nothing would.
    pub fn verifier(&self) -> Result<Key, String> {
        match &self.material {
            Material::Edwards(pair) => Key::edwards(pair.public_key().as_ref()),
            Material::Secret(secret) => Ok(Key::hs256(hmac::Key::clone(secret))),
        }
    }

    /// Its public half (RFC 8037 §2); a secret has none.
    #[must_use]
    pub fn jwk(&self) -> Option<Value> {
        let Material::Edwards(pair) = &self.material else { return None };
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        Some(json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": &*self.kid, "x": x }))
    }

    /// A token of this `typ` that claims this (RFC 7515 §7.1).
    #[must_use]
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> Option<String> {
        let header = json!({ "typ": typ, "alg": self.algorithm().to_string(), "kid": &*self.kid });
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims).ok()?, &mut token);
        let signature = match &self.material {
            Material::Edwards(pair) => URL_SAFE_NO_PAD.encode(pair.try_sign(token.as_bytes()).ok()?),
            Material::Secret(secret) => URL_SAFE_NO_PAD.encode(hmac::sign(secret, token.as_bytes())),
        };
        token.push('.');
        token.push_str(&signature);
        Some(token)
    }
}

/// Of the Ed25519 key with this `x` (RFC 7638: members in the order of their names, without spaces).
fn thumbprint(x: &str) -> Box<str> {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, jwk.as_bytes())).into()
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::compact::Compact;
    use super::*;

    /// RFC 8037 A.1, in PKCS #8 (RFC 8410 §7).
    const PEM: &str =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";

    #[test]
    fn the_name_of_a_key_is_its_thumbprint() {
        let key = SigningKey::read(PEM.as_bytes()).unwrap().remove(0);
        // RFC 8037 A.3.
        assert_eq!(key.kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.jwk().unwrap()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    }

    #[test]
    fn what_is_signed_is_verified_by_its_own_key_alone() {
        let secrets = SigningKey::read(format!("{}\n\n{}\n", "a".repeat(32), "b".repeat(40)).as_bytes()).unwrap();
        let mut keys = SigningKey::read(PEM.as_bytes()).unwrap();
        keys.extend(secrets);
        assert_eq!(keys.len(), 3);
        for (index, key) in keys.iter().enumerate() {
            let token = key.sign("at+jwt", &json!({ "sub": "ada" })).unwrap();
            let token = Compact::parse(token.as_bytes()).unwrap();
            assert_eq!((token.kid.as_deref(), token.algorithm), (Some(key.kid()), Some(key.algorithm())));
            for (other, verifier) in keys.iter().map(|key| key.verifier().unwrap()).enumerate() {
                assert_eq!(verifier.has_signed(token.signed, &token.signature), other == index);
            }
        }
    }

    #[test]
    fn what_is_too_short_or_no_key_is_refused_and_not_repeated() {
        let rsa = PEM.replace("MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v", "MC4CAQAwBQYDK2VuBCIEIJ1hsZ3v");
        for bad in ["", "\n \n", "hunter2", &rsa, "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"] {
            let why = SigningKey::read(bad.as_bytes()).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        let secret = SigningKey::read("s".repeat(32).as_bytes()).unwrap().remove(0);
        assert!(secret.jwk().is_none() && !format!("{secret:?}").contains("sss"));
    }
}
