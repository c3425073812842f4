//! Algorithms of signatures (RFC 7518, RFC 8037) and keys to check them with. A key has one algorithm, which is decided when the key
//! is read; no token chooses another. What is malformed or too weak is no key.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Least size of an RSA modulus, bits.
const RSA_BITS_MIN: usize = 2048;
/// Largest one, bits: more would only cost.
const RSA_BITS_MAX: usize = 8192;
/// Least public exponent.
const EXPONENT_MIN: u64 = 65_537;

/// An algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RFC 7518 and RFC 8037")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// What keys of an algorithm are.
#[derive(Debug, Clone, Copy)]
pub enum Family {
    /// A shared secret.
    Secret(hmac::Algorithm),
    /// RSA.
    Rsa(&'static RsaParameters),
    /// A curve, and the bytes of a coordinate.
    Curve(&'static EcdsaVerificationAlgorithm, usize),
    /// Ed25519.
    Edwards,
}

impl Algorithm {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 12] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// The one of this name, which is case-sensitive. There is no `none`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, algorithm)| *algorithm)
    }

    /// What its keys are.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::Hs256 => Family::Secret(hmac::HMAC_SHA256),
            Self::Hs384 => Family::Secret(hmac::HMAC_SHA384),
            Self::Hs512 => Family::Secret(hmac::HMAC_SHA512),
            Self::Rs256 => Family::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Family::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Family::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Family::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Family::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Family::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Family::Curve(&signature::ECDSA_P256_SHA256_FIXED, 32),
            Self::Es384 => Family::Curve(&signature::ECDSA_P384_SHA384_FIXED, 48),
            Self::EdDsa => Family::Edwards,
        }
    }

    /// Whether its keys are shared secrets.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self.family(), Family::Secret(_))
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, known)| known == self).map_or("", |(name, _)| name))
    }
}

/// A key, and the one algorithm that it is for.
pub struct Key {
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Key {
    /// A shared secret.
    #[must_use]
    pub fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Self> {
        let Family::Secret(hash) = algorithm.family() else { return None };
        Some(Self { algorithm, material: Material::Secret(Box::new(hmac::Key::new(hash, secret))) })
    }

    /// A shared secret of HS256 that was read already.
    #[must_use]
    pub fn hs256(secret: hmac::Key) -> Self {
        Self { algorithm: Algorithm::Hs256, material: Material::Secret(Box::new(secret)) }
    }

    /// RSA, from modulus and exponent, big-endian.
    ///
    /// # Errors
    /// Why it is none that may be used.
    pub fn rsa(algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        let Family::Rsa(parameters) = algorithm.family() else { return Err(format!("{algorithm} is not for RSA keys")) };
        let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(format!("an RSA key of {bits} bits: from {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken"));
        }
        if exponent.len() > 8 {
            return Err("its RSA exponent is too large".into());
        }
        let exponent_value = exponent.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if exponent_value < EXPONENT_MIN || exponent_value.is_multiple_of(2) {
            return Err(format!("its RSA exponent is {exponent_value}: it must be odd and at least {EXPONENT_MIN}"));
        }
        let key = PublicKeyComponents { n: modulus, e: exponent }.to_parsed_public_key(parameters);
        let key = key.map_err(|_| "not an RSA key".to_owned())?;
        Ok(Self { algorithm, material: Material::Public(key) })
    }

    /// A point of the algorithm's curve.
    ///
    /// # Errors
    /// It is none.
    pub fn point(algorithm: Algorithm, x: &[u8], y: &[u8]) -> Result<Self, String> {
        let Family::Curve(curve, width) = algorithm.family() else { return Err(format!("{algorithm} is not for keys on a curve")) };
        if x.len() != width || y.len() != width {
            return Err(format!("coordinates of {algorithm} have {width} bytes"));
        }
        let point = [&[4], x, y].concat();
        let key = ParsedPublicKey::new(curve, &point).map_err(|_| format!("not a point of the curve of {algorithm}"))?;
        Ok(Self { algorithm, material: Material::Public(key) })
    }

    /// Ed25519.
    ///
    /// # Errors
    /// It is none.
    pub fn edwards(public: &[u8]) -> Result<Self, String> {
        if public.len() != 32 {
            return Err("an Ed25519 key has 32 bytes".into());
        }
        let key = ParsedPublicKey::new(&signature::ED25519, public).map_err(|_| "not an Ed25519 key".to_owned())?;
        Ok(Self { algorithm: Algorithm::EdDsa, material: Material::Public(key) })
    }

    /// From a `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// It is none for this algorithm.
    pub fn from_spki(algorithm: Algorithm, der: &[u8]) -> Result<Self, String> {
        let unfit = || format!("not a public key for {algorithm}");
        let parsed = |of: &'static dyn signature::VerificationAlgorithm| signature::UnparsedPublicKey::new(of, der).parse();
        match algorithm.family() {
            Family::Secret(_) => Err(unfit()),
            Family::Rsa(_) => match SubjectPublicKeyInfo::from_der(der).ok().and_then(|(_, info)| info.parsed().ok().map(rsa_parts)) {
                Some(Some((modulus, exponent))) => Self::rsa(algorithm, &modulus, &exponent),
                Some(None) | None => Err(unfit()),
            },
            Family::Curve(curve, _) => parsed(curve).map(|key| Self { algorithm, material: Material::Public(key) }).map_err(|_| unfit()),
            Family::Edwards => {
                parsed(&signature::ED25519).map(|key| Self { algorithm, material: Material::Public(key) }).map_err(|_| unfit())
            }
        }
    }

    /// The one algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it made the signature of the message.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(secret) => hmac::verify(secret, message, signature).is_ok(),
            Material::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn rsa_parts(key: PublicKey<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    if let PublicKey::RSA(key) = key { Some((key.modulus.to_vec(), key.exponent.to_vec())) } else { None }
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
