"""Verifies tokens with PyJWT, as an upstream would: by the keys that Sidegate publishes, or by a secret; where AUDIENCE is set, only
access tokens for it. Prints what they claim."""

import json
import os

import jwt
from jwt import PyJWKSet

AUDIENCE = os.environ.get("AUDIENCE")
REQUIRE = {"require": ["iss", "sub", "iat", "exp", "jti"]}


def verified(token):
    header = jwt.get_unverified_header(token)
    assert header["typ"] == ("at+jwt" if AUDIENCE else "JWT")
    expected = {"issuer": "sidegate", "audience": AUDIENCE, "options": REQUIRE}
    if header["alg"] == "HS256":
        return jwt.decode(token, os.environ["SECRET"], algorithms=["HS256"], **expected)
    key = PyJWKSet.from_json(os.environ["JWKS"])[header["kid"]]
    return jwt.decode(token, key, algorithms=["EdDSA"], **expected)


print(json.dumps([verified(token) for token in os.environ["TOKENS"].split()]))
