//! What the first request of a token costs beyond those that find it in the cache: its signature, by each algorithm, and its claims.

use criterion::Criterion;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
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
    fn new(algorithm: Algorithm) -> Self {
        let pair = |kind| KeyPair::generate_for(kind).unwrap();
        let (key, entry, file) = match algorithm {
            Algorithm::HS256 => (EncodingKey::from_secret(SECRET.as_bytes()), "secret_file", SECRET.to_owned()),
            Algorithm::ES256 => {
                let pair = pair(&PKCS_ECDSA_P256_SHA256);
                (EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(), "public_key_file", pair.public_key_pem())
            }
            Algorithm::EdDSA => {
                let pair = pair(&PKCS_ED25519);
                (EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap(), "public_key_file", pair.public_key_pem())
            }
            _ => {
                let pair = pair(&PKCS_RSA_SHA256);
                (EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap(), "public_key_file", pair.public_key_pem())
            }
        };
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
        let token = encode(&Header::new(algorithm), &claims, &key).unwrap();
        Self { issuers: issuers.unwrap_or_else(|| panic!("{:?}", problems.list())), token }
    }
}

/// Each algorithm, a bench of its own.
pub(crate) fn first_of_each_algorithm(criterion: &mut Criterion) {
    for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA] {
        let bench = Bench::new(algorithm);
        criterion.bench_function(&format!("verify, {algorithm:?}"), |bencher| {
            bencher.iter(|| bench.issuers.verify(bench.token.as_bytes(), NOW).unwrap());
        });
    }
}
