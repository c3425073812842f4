//! What the first request of a token costs beyond those that find it in the cache: its signature, by each algorithm, and its claims.

use criterion::Criterion;
use jsonwebtoken::errors::Result;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::json;
use sidegate::authn::Issuers;
use sidegate::clock::Timestamp;
use sidegate::config::problem::Problems;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const SECRET: &str = "a secret that is long enough for HS256";

/// An issuer of tokens of one algorithm, and one of them.
struct Bench {
    issuers: Issuers,
    token: String,
}

impl Bench {
    fn by_secret(algorithm: Algorithm) -> Self {
        Self::new(algorithm, &EncodingKey::from_secret(SECRET.as_bytes()), "secret_file", SECRET)
    }

    fn by_pair(algorithm: Algorithm, kind: &'static SignatureAlgorithm, read: fn(&[u8]) -> Result<EncodingKey>) -> Self {
        let pair = KeyPair::generate_for(kind).unwrap();
        Self::new(algorithm, &read(pair.serialize_pem().as_bytes()).unwrap(), "public_key_file", &pair.public_key_pem())
    }

    fn new(algorithm: Algorithm, key: &EncodingKey, entry: &str, file: &str) -> Self {
        let held = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(held.path(), file).unwrap();
        let text = format!(
            "[[issuers]]\nname = \"users\"\nalgorithms = [\"{algorithm:?}\"]\nissuer = \"https://auth.example\"\naudiences = [\"api\"]\n{entry} = \"{}\"\n",
            held.path().display()
        );
        let mut problems = Problems::default();
        let issuers = Issuers::compile(&toml::from_str(&text).unwrap(), &mut problems);
        let claims = json!({
            "iss": "https://auth.example", "aud": "api", "org_id": "acme", "sub": "ada@example.com", "scope": "read:* write:items",
            "iat": NOW.0 / 1000, "exp": NOW.0 / 1000 + 3600, "jti": "0198d0a4-6b1e-7c3f-9a52-3f1c2d4e5b6a",
        });
        let token = encode(&Header::new(algorithm), &claims, key).unwrap();
        Self { issuers: issuers.unwrap_or_else(|| panic!("{:?}", problems.list())), token }
    }
}

/// Each algorithm, a bench of its own.
pub(crate) fn first_of_each_algorithm(criterion: &mut Criterion) {
    for (name, bench) in [
        ("HS256", Bench::by_secret(Algorithm::HS256)),
        ("RS256", Bench::by_pair(Algorithm::RS256, &PKCS_RSA_SHA256, EncodingKey::from_rsa_pem)),
        ("PS256", Bench::by_pair(Algorithm::PS256, &PKCS_RSA_SHA256, EncodingKey::from_rsa_pem)),
        ("ES256", Bench::by_pair(Algorithm::ES256, &PKCS_ECDSA_P256_SHA256, EncodingKey::from_ec_pem)),
        ("EdDSA", Bench::by_pair(Algorithm::EdDSA, &PKCS_ED25519, EncodingKey::from_ed_pem)),
    ] {
        criterion.bench_function(&format!("verify, {name}"), |bencher| {
            bencher.iter(|| bench.issuers.verify(bench.token.as_bytes(), NOW).unwrap());
        });
    }
}
