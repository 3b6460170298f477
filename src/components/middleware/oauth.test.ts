import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { Middleware, MiddlewareReply } from '../../blocks/middleware/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { DriverModule } from '../component.ts'
import { driver as oauth2 } from './oauth2/driver.ts'
import { driver as clientCredentials } from './oauth2clientcredentials/driver.ts'

const lines: string[] = []
const log = createLogger({ level: 'debug', json: false, appId: 'a', version: 'test', write: (line) => lines.push(line) })

interface Asked {
  authorization: string | undefined
  form: Record<string, string>
}

/** A token endpoint; `answer` says what it gives to whom. */
async function provider(answer: (asked: Asked, calls: number) => { status?: number; type?: string; body: string }) {
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    asked.push({ authorization: request.headers.authorization, form: Object.fromEntries(new URLSearchParams(body)) })
    const reply = answer(asked.at(-1) as Asked, asked.length)
    response.writeHead(reply.status ?? 200, { 'content-type': reply.type ?? 'application/json' }).end(reply.body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    asked,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

const made = (driver: DriverModule<Middleware>, properties: Record<string, string>) =>
  driver.create({ name: 'o', type: 'middleware.http.x', version: 'v1', properties, appId: 'a', namespace: '', log })

/** One request through the middleware: its reply, and the headers it left with. */
async function pass(middleware: Middleware, target = '/a', given: Record<string, string> = {}) {
  const headers = { ...given }
  const [path = '', query = ''] = target.split('?')
  const reply: MiddlewareReply | undefined = await middleware.handle({
    method: 'GET',
    path,
    query,
    remoteAddress: undefined,
    header: (name) => headers[name.toLowerCase()],
    setHeader(name, value) {
      headers[name.toLowerCase()] = value
    },
    readBody: async () => Buffer.from(''),
    mapBody() {},
    onEnd() {},
    mapReply() {},
  })
  return { reply, headers }
}

const credentials = (tokenURL: string, more: Record<string, string> = {}) =>
  made(clientCredentials, { clientID: 'me', clientSecret: 's3cr et', scopes: 'a,b', headerName: 'Authorization', tokenURL, ...more })

test('client credentials: one token serves all until it ends, asked for once', async () => {
  await using idp = await provider((_, calls) => ({
    body: JSON.stringify({ access_token: `t${calls}`, token_type: 'bearer', expires_in: 60 }),
  }))
  await using middleware = credentials(idp.url, { endpointParamsQuery: 'audience=x%20y' })
  const all = await Promise.all([pass(middleware), pass(middleware), pass(middleware, '/a', { authorization: 'forged' })])
  assert.deepEqual(
    [...all, await pass(middleware)].map(({ headers }) => headers.authorization),
    ['Bearer t1', 'Bearer t1', 'Bearer t1', 'Bearer t1'],
  )
  assert.deepEqual(idp.asked, [
    {
      authorization: `Basic ${Buffer.from('me:s3cr+et').toString('base64')}`,
      form: { grant_type: 'client_credentials', scope: 'a b', audience: 'x y' },
    },
  ])
})

test('client credentials: by the form where the header is refused, or where it is told so', async () => {
  await using idp = await provider(({ authorization }) =>
    authorization ? { status: 401, body: '{}' } : { type: 'application/x-www-form-urlencoded', body: 'access_token=t&token_type=MAC' },
  )
  await using auto = credentials(idp.url)
  assert.equal((await pass(auto)).headers.authorization, 'MAC t')
  await using params = credentials(idp.url, { authStyle: '1' })
  assert.equal((await pass(params)).headers.authorization, 'MAC t')
  assert.equal(idp.asked.length, 3)
  assert.deepEqual(idp.asked[2]?.form, { grant_type: 'client_credentials', scope: 'a b', client_id: 'me', client_secret: 's3cr et' })
})

test('client credentials: without a token no request passes, and secrets stay out of the log', async () => {
  lines.length = 0
  await using idp = await provider(() => ({ status: 400, body: '{"error":"s3cr et"}' }))
  await using middleware = credentials(idp.url, { pathFilter: '^/guarded' })
  const { reply } = await pass(middleware, '/guarded/x')
  assert.deepEqual(reply, { status: 500, body: 'Internal Server Error' })
  assert.deepEqual((await pass(middleware, '/open')).reply, undefined)
  assert.match(lines.join('\n'), /Error acquiring token: http:\/\/127\.0\.0\.1:\d+ answered 400/)
  assert.doesNotMatch(lines.join('\n'), /s3cr/)
  assert.throws(() => credentials('no url'), /tokenURL is not a URL/)
  assert.throws(() => credentials(idp.url, { authStyle: '3' }), /authStyle/)
})

test('oauth2: to the provider and back, then with a token; codes and states are checked', async () => {
  await using idp = await provider(({ form }) =>
    form.code === 'good' ? { body: '{"access_token":"t","token_type":"Bearer","expires_in":3600}' } : { status: 400, body: '{}' },
  )
  await using middleware = made(oauth2, {
    clientID: 'me',
    clientSecret: 'secret',
    scopes: 'openid,email',
    authURL: 'https://idp.example/auth?tenant=1',
    tokenURL: idp.url,
    redirectURL: 'http://us/callback',
  })
  const first = await pass(middleware, '/wanted?x=1')
  assert.equal(first.reply?.status, 302)
  const to = new URL(first.reply?.headers?.location as string)
  assert.equal(to.origin + to.pathname, 'https://idp.example/auth')
  const { state, ...asked } = Object.fromEntries(to.searchParams)
  assert.deepEqual(asked, {
    tenant: '1',
    access_type: 'offline',
    client_id: 'me',
    redirect_uri: 'http://us/callback',
    response_type: 'code',
    scope: 'openid email',
  })
  const jar = (reply: MiddlewareReply | undefined) => ({ cookie: `other=1; ${reply?.headers?.['set-cookie']?.split(';')[0]}` })
  const cookie = jar(first.reply)
  assert.match(first.reply?.headers?.['set-cookie'] ?? '', /; HttpOnly; SameSite=Lax$/)
  assert.deepEqual((await pass(middleware, `/callback?state=${state}`, { cookie: 'other=1' })).reply?.status, 500)
  assert.deepEqual((await pass(middleware, '/callback?state=guess&code=good', cookie)).reply, { status: 400, body: 'invalid state' })
  assert.deepEqual((await pass(middleware, `/callback?state=${state}`, cookie)).reply, { status: 400, body: 'code not found' })
  assert.equal((await pass(middleware, `/callback?state=${state}&code=bad`, cookie)).reply?.status, 500)
  const back = await pass(middleware, `/callback?state=${state}&code=good`, cookie)
  assert.deepEqual([back.reply?.status, back.reply?.headers?.location], [302, '/wanted?x=1'])
  assert.deepEqual(idp.asked.at(-1)?.form, { grant_type: 'authorization_code', code: 'good', redirect_uri: 'http://us/callback' })
  const known = await pass(middleware, '/wanted?x=1', jar(back.reply))
  assert.deepEqual([known.reply, known.headers.authorization], [undefined, 'Bearer t'])
  assert.equal((await pass(middleware, '/wanted', cookie)).reply?.status, 302, 'the id from before the login opens nothing')
})
