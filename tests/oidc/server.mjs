// A certified OpenID provider on https://localhost:<free port>, for tests.
//
// Arguments: certificate file, key file, JSON of {audience, clients: {id: {secret, claims, redirect}}}. A client with a
// redirect address signs its user in, at once and without a question, by the authorization code flow.
// Says one JSON line when it is up: {"issuer", "kids"}. Then takes commands on stdin, one a line, and answers each with a line:
//   rotate   a new signing key; the former ones stay published
//   withdraw only the newest key stays published
//   requests how often the key set was fetched
// It ends when stdin does, so it never outlives the tests.

import { createServer } from 'node:https'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { Provider } from 'oidc-provider'

// Its notices go to stderr: stdout is ours.
globalThis.console = new console.Console(process.stderr)

const [certificate, key, settings] = process.argv.slice(2)
const { audience, clients } = JSON.parse(settings)

let keys = []
let serve = null
let signIn = null
let fetches = 0

function addKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  keys = [{ ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'RS256' }, ...keys]
}

function restart(issuer) {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: Object.entries(clients).map(([id, { secret, redirect }]) => ({
      client_id: id,
      client_secret: secret,
      grant_types: redirect ? ['authorization_code', 'refresh_token'] : ['client_credentials'],
      redirect_uris: redirect ? [redirect] : [],
      response_types: redirect ? ['code'] : [],
      post_logout_redirect_uris: redirect ? [redirect] : [],
    })),
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    claims: { openid: ['sub', 'roles', 'name'] },
    conformIdTokenClaims: false, // an ID token with the user's claims in it, as Entra's are
    findAccount: (ctx, accountId) => ({
      accountId,
      claims: () => ({ sub: accountId, ...clients[ctx.oidc.client.clientId].claims }),
    }),
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    async loadExistingGrant(ctx) {
      const { clientId } = ctx.oidc.client
      const grant = new ctx.oidc.provider.Grant({ clientId, accountId: ctx.oidc.session.accountId })
      grant.addOIDCScope('openid')
      await grant.save()
      return grant
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({
          audience,
          scope: '',
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (_ctx, token) => clients[token.clientId].claims,
  })
  serve = provider.callback()
  signIn = (request, response) =>
    provider.interactionFinished(request, response, { login: { accountId: 'person-1' } })
}

const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (request, response) => {
  if (request.url === '/jwks') fetches += 1
  if (request.url.startsWith('/interaction/')) signIn(request, response)
  else serve(request, response)
})

server.listen(0, '127.0.0.1', () => {
  const issuer = `https://localhost:${server.address().port}`
  const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)
  const state = () => ({ issuer, kids: keys.map(({ kid }) => kid), fetches })
  const commands = {
    rotate: () => { addKey(); restart(issuer) },
    withdraw: () => { keys = keys.slice(0, 1); restart(issuer) },
    requests: () => {},
  }
  commands.rotate()
  say(state())
  createInterface({ input: process.stdin })
    .on('line', (line) => { commands[line](); say(state()) })
    .on('close', () => process.exit(0))
})
