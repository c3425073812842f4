// Verifies tokens with jose, as an upstream would: by the keys that Sidegate publishes, or by a secret; where AUDIENCE is set, only
// access tokens for it. Prints what they claim.

const { createLocalJWKSet, decodeProtectedHeader, jwtVerify } = require('jose')

const published = createLocalJWKSet(JSON.parse(process.env.JWKS))
const audience = process.env.AUDIENCE
const secret = new TextEncoder().encode(process.env.SECRET)

async function verified(token) {
  const key = decodeProtectedHeader(token).alg === 'HS256' ? secret : published
  const required = ['iss', 'sub', 'iat', 'exp', 'jti']
  const typ = audience ? 'at+jwt' : 'JWT'
  const { payload } = await jwtVerify(token, key, { issuer: 'sidegate', audience, typ, requiredClaims: required })
  return payload
}

Promise.all(process.env.TOKENS.split(' ').map(verified)).then((claims) => console.log(JSON.stringify(claims)))
