"""Verifies tokens with PyJWT, as an upstream would: by the keys that Sidegate publishes, or by a secret. Prints what they claim."""

import json
import os

import jwt
from jwt import PyJWKSet

REQUIRE = {"require": ["iss", "sub", "iat", "exp", "jti"]}


def verified(token):
    header = jwt.get_unverified_header(token)
    if header["alg"] == "HS256":
        return jwt.decode(token, os.environ["SECRET"], algorithms=["HS256"], issuer="sidegate", options=REQUIRE)
    key = PyJWKSet.from_json(os.environ["JWKS"])[header["kid"]]
    return jwt.decode(token, key, algorithms=["EdDSA"], issuer="sidegate", options=REQUIRE)


print(json.dumps([verified(token) for token in os.environ["TOKENS"].split()]))
