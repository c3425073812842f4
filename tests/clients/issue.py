"""Tokens as PyJWT makes them: prints the keys to verify them by, and one token for each algorithm."""

import json
import os
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

CLAIMS = {"iss": "https://auth.example", "aud": ["web", "api"], "org_id": "acme", "sub": "ada", "scope": "read:a write:b"}


def claims():
    now = int(time.time())
    return CLAIMS | {"iat": now, "nbf": now, "exp": now + 3600}


def issue():
    keys = {
        "RS256": (rsa.generate_private_key(65537, 2048), RSAAlgorithm),
        "RS512": (rsa.generate_private_key(65537, 3072), RSAAlgorithm),
        "PS384": (rsa.generate_private_key(65537, 2048), RSAAlgorithm),
        "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
        "ES384": (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
        "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
    }
    jwks, tokens = [], {}
    for algorithm, (key, kind) in keys.items():
        jwk = json.loads(kind.to_jwk(key.public_key()))
        jwks.append(jwk | {"kid": algorithm, "alg": algorithm, "use": "sig"})
        tokens[algorithm] = jwt.encode(claims(), key, algorithm=algorithm, headers={"kid": algorithm})
    secret = os.environ["SECRET"]
    shared = {algorithm: jwt.encode(claims() | {"iss": "https://shared.example"}, secret, algorithm=algorithm) for algorithm in ("HS256", "HS384", "HS512")}
    return {"jwks": {"keys": jwks}, "tokens": tokens | shared}


print(json.dumps(issue()))
