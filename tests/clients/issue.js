// Tokens as jose makes them: prints the keys to verify them by, and one token for each algorithm.

const { SignJWT, exportJWK, generateKeyPair } = require('jose')

const token = (issuer, alg) =>
  new SignJWT({ org_id: 'acme', scope: 'read:a write:b' })
    .setProtectedHeader({ alg, kid: alg, typ: 'at+jwt' })
    .setIssuer(issuer)
    .setAudience('api')
    .setSubject('ada')
    .setIssuedAt()
    .setNotBefore('0s')
    .setExpirationTime('1h')

async function issue() {
  const keys = []
  const tokens = {}
  for (const alg of ['RS256', 'RS512', 'PS384', 'ES256', 'ES384', 'EdDSA']) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
    keys.push({ ...(await exportJWK(publicKey)), kid: alg, alg, use: 'sig' })
    tokens[alg] = await token('https://auth.example', alg).sign(privateKey)
  }
  const secret = new TextEncoder().encode(process.env.SECRET)
  for (const alg of ['HS256', 'HS384', 'HS512']) {
    tokens[alg] = await token('https://shared.example', alg).sign(secret)
  }
  return { jwks: { keys }, tokens }
}

issue().then((issued) => console.log(JSON.stringify(issued)))
