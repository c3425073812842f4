//! Tokens, as issuers make them and as attackers do: any header and any payload, under keys that the test has.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA384,
    RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _};
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// base64url without padding.
pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A secret that is long enough.
pub(crate) const SECRET: &str = "a secret that is long enough for HS512, which asks for 64 bytes..";

/// A key of an issuer.
pub(crate) enum Signer {
    Secret(Box<hmac::Key>),
    Pair(&'static str, KeyPair),
}

impl Signer {
    pub(crate) fn secret(secret: &[u8]) -> Self {
        Self::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    pub(crate) fn generate(algorithm: &'static str) -> Self {
        let kind = match algorithm {
            "RS256" | "PS384" => &PKCS_RSA_SHA256,
            "ES256" => &PKCS_ECDSA_P256_SHA256,
            "ES384" => &PKCS_ECDSA_P384_SHA384,
            "EdDSA" => &PKCS_ED25519,
            other => panic!("{other}"),
        };
        Self::Pair(algorithm, KeyPair::generate_for(kind).unwrap())
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Pair(algorithm, _) => algorithm,
        }
    }

    pub(crate) fn public_pem(&self) -> String {
        let Self::Pair(_, pair) = self else { panic!("a secret is not public") };
        pair.public_key_pem()
    }

    /// In PKCS #8.
    pub(crate) fn private_pem(&self) -> String {
        let Self::Pair(_, pair) = self else { panic!("a secret has no PEM") };
        pair.serialize_pem()
    }

    /// As a JSON Web Key.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let Self::Pair(algorithm, pair) = self else { panic!("a secret is not public") };
        let spki = pair.subject_public_key_info();
        let (_, info) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        let mut jwk = match info.parsed().unwrap() {
            PublicKey::RSA(key) => {
                let modulus = key.modulus.strip_prefix(&[0]).unwrap_or(key.modulus);
                json!({ "kty": "RSA", "n": base64url(modulus), "e": base64url(key.exponent) })
            }
            PublicKey::EC(point) => {
                let (x, y) = point.data()[1..].split_at(point.data().len() / 2);
                json!({ "kty": "EC", "crv": if x.len() == 32 { "P-256" } else { "P-384" }, "x": base64url(x), "y": base64url(y) })
            }
            _ => json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(&info.subject_public_key.data) }),
        };
        jwk["alg"] = json!(algorithm);
        jwk["kid"] = json!(kid);
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let Self::Pair(algorithm, pair) = self else {
            let Self::Secret(secret) = self else { unreachable!() };
            return hmac::sign(secret, message).as_ref().to_vec();
        };
        let (der, random) = (pair.serialize_der(), SystemRandom::new());
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let key = RsaKeyPair::from_pkcs8(&der).unwrap();
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &random, message, &mut signature).unwrap();
            signature
        };
        match *algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "ES256" => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap().sign(&random, message).unwrap().as_ref().to_vec()
            }
            "ES384" => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &der).unwrap().sign(&random, message).unwrap().as_ref().to_vec()
            }
            _ => Ed25519KeyPair::from_pkcs8(&der).unwrap().sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and payload, whatever they are, and a good signature.
    pub(crate) fn over(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        format!("{signed}.{}", base64url(self.sign(signed.as_bytes())))
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.over(json!({ "alg": self.algorithm(), "typ": "JWT" }).to_string(), claims.to_string())
    }

    /// The same, that names its key.
    pub(crate) fn token_by(&self, kid: &str, claims: &Value) -> String {
        self.over(json!({ "alg": self.algorithm(), "typ": "at+jwt", "kid": kid }).to_string(), claims.to_string())
    }
}
