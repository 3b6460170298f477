import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import type { Middleware, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

// Against a stand-in for OPA's REST API; the same was seen with OPA 1.4.2.
const log = createLogger({ level: 'error', json: false, appId: 'a', version: 'test', write: () => {} })
const asked: { line: string; body: string }[] = []
let answer: { status: number; body: string } = { status: 200, body: '{}' }
const server = createServer(async (request, response) => {
  let body = ''
  for await (const part of request) body += part
  asked.push({ line: `${request.method} ${request.url}`, body })
  response.writeHead(answer.status).end(answer.body)
})
let url: string

before(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

after(() => {
  server.closeAllConnections()
  server.close()
})

const make = (properties: Record<string, string>): Middleware =>
  driver.create({ name: 'rules', type: 'middleware.http.opa', version: 'v1', properties, appId: 'shop', namespace: '', log })

function request(headers: Record<string, string>): MiddlewareRequest & { set: Record<string, string> } {
  const set: Record<string, string> = {}
  return {
    set,
    method: 'GET',
    path: '/v1.0/invoke/a%20b',
    query: 'x=1&x=2&y=',
    remoteAddress: undefined,
    header: (name) => headers[name.toLowerCase()],
    setHeader: (name, value) => {
      set[name] = value
    },
    readBody: async () => Buffer.from(''),
    mapBody() {},
    mapReply() {},
    onEnd() {},
  }
}

test('the policy is put to the server, and each request is decided there', async () => {
  await using opa = make({ opaServer: `${url}/`, rego: 'package http\nallow = true', includedHeaders: 'x-jwt, X-Other' })
  await opa.init(AbortSignal.timeout(5000))
  assert.deepEqual(asked.splice(0), [{ line: 'PUT /v1/policies/outrider/shop/rules', body: 'package http\nallow = true' }])
  answer = { status: 200, body: '{"result": true}' }
  assert.equal(await opa.handle(request({ 'x-jwt': 'token', 'x-secret': 'no' })), undefined)
  const [{ line, body }] = asked.splice(0) as [{ line: string; body: string }]
  assert.equal(line, 'POST /v1/data/http/allow')
  assert.deepEqual(JSON.parse(body), {
    input: {
      request: {
        method: 'GET',
        path: '/v1.0/invoke/a b',
        path_parts: ['v1.0', 'invoke', 'a b'],
        raw_query: 'x=1&x=2&y=',
        query: { x: ['1', '2'], y: [''] },
        headers: { 'X-Jwt': 'token' },
        scheme: '',
        body: '',
      },
    },
  })
})

test('a decision is a boolean or an object; what is neither refuses', async () => {
  await using opa = make({ opaServer: url, defaultStatus: '401', opaPath: '/shop/decide/' })
  const decided = async (body: string, status = 200) => {
    answer = { status, body }
    const passing = request({})
    return { reply: await opa.handle(passing), set: passing.set }
  }
  const refused = (status: number, body: string, headers = {}) => ({ reply: { status, headers, body }, set: {} })
  const failed = refused(401, 'Unauthorized', { 'x-dapr-opa-error': 'true' })
  assert.deepEqual(await decided('{"result": false}'), refused(401, 'Unauthorized'))
  assert.deepEqual(await decided('{"result": {"allow": true, "additional_headers": {"X-User": "me"}}}'), {
    reply: undefined,
    set: { 'x-user': 'me' },
  })
  assert.deepEqual(
    await decided('{"result": {"allow": false, "status_code": 301, "additional_headers": {"Location": "/in"}}}'),
    refused(301, 'Moved Permanently', { location: '/in' }),
  )
  assert.deepEqual(await decided('{"result": {"status_code": 999}}'), refused(500, 'Internal Server Error'))
  for (const [body, status] of [
    ['{}'],
    ['{"result": "yes"}'],
    ['{"result": null}'],
    ['{"result": [1]}'],
    ['no JSON'],
    ['{"result": true}', 500],
  ] as const)
    assert.deepEqual(await decided(body, status), failed, body)
  assert.equal(asked.at(-1)?.line, 'POST /v1/data/shop/decide')
})

test('a server that is away or refuses the policy fails the start; one that goes away later refuses requests', async () => {
  await using refused = make({ opaServer: url, rego: 'nonsense' })
  answer = { status: 400, body: '{"message": "rego_parse_error"}' }
  await assert.rejects(refused.init(AbortSignal.timeout(5000)), /refused the policy with 400: .*rego_parse_error/)
  await using away = make({ opaServer: 'http://127.0.0.1:1' })
  await assert.rejects(
    away.init(AbortSignal.timeout(5000)),
    /OPA server http:\/\/127\.0\.0\.1:1 cannot be asked: .*; start it with: opa run --server/,
  )
  assert.deepEqual(await away.handle(request({})), { status: 403, headers: { 'x-dapr-opa-error': 'true' }, body: 'Forbidden' })
  assert.throws(() => make({ rego: 'package http' }), /opaServer/)
})
