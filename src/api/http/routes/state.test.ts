import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { StateStore } from '../../../blocks/state/driver.ts'
import { createStateBlock } from '../../../blocks/state/state.ts'
import { driver as memory } from '../../../components/state/in-memory/driver.ts'
import { driver as sqlite } from '../../../components/state/sqlite/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { HttpApi } from '../server.ts'
import { stateRoutes } from './state.ts'

const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

describe('state over HTTP', () => {
  const stores = new Map<
    string,
    { name: string; type: string; version: string; component: StateStore; properties: Record<string, string> }
  >()
  let api: HttpApi
  let base = ''
  before(async () => {
    for (const [name, driver, properties] of [
      ['mem', memory, {}],
      ['lite', sqlite, { connectionString: ':memory:' }],
    ] as const) {
      const component = driver.create({ name, type: 'state.x', version: 'v1', properties, appId: 'app', namespace: '', log })
      await component.init(AbortSignal.timeout(5000))
      stores.set(name, { name, type: 'state.x', version: 'v1', component, properties })
    }
    api = new HttpApi({
      routes: stateRoutes(createStateBlock({ stores, appId: 'app', namespace: '' })),
      maxBodySize: 10_000,
      readBufferSize: 4096,
      h2c: false,
    })
    base = `http://127.0.0.1:${await api.listen({ host: '127.0.0.1', port: 0 })}`
  })
  after(async () => {
    await api.close(100)
    for (const { component } of stores.values()) await component[Symbol.asyncDispose]()
  })
  const ask = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await fetch(base + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, json: () => JSON.parse(text) as Record<string, unknown> }
  }
  const refused = async (method: string, path: string, body: unknown, status: number, code: string, message: string | RegExp) => {
    const reply = await ask(method, path, body)
    assert.equal(reply.status, status, reply.text)
    assert.equal(reply.json().errorCode, code)
    if (typeof message === 'string') assert.equal(reply.json().message, message)
    else assert.match(String(reply.json().message), message)
    return reply.json()
  }

  for (const store of ['mem', 'lite']) {
    it(`${store}: saves, reads with ETag and expiry, deletes by ETag`, async () => {
      assert.equal(
        (await ask('POST', `/v1.0/state/${store}?metadata.ttlInSeconds=100`, [{ key: 'ü/k', Value: { b: [1, 'x'], a: null } }])).status,
        204,
      )
      const got = await ask('GET', `/v1.0/state/${store}/%C3%BC%2Fk`)
      assert.deepEqual([got.status, got.headers.get('content-type'), got.json()], [200, 'application/json', { b: [1, 'x'], a: null }])
      assert.ok(Date.parse(got.headers.get('metadata.ttlExpireTime') ?? '') > Date.now())
      const etag = got.headers.get('etag') ?? ''
      const stale = await ask('DELETE', `/v1.0/state/${store}/%C3%BC%2Fk`, undefined, { 'if-match': 'stale' })
      assert.deepEqual([stale.status, stale.json().errorCode, stale.json().details], [409, 'ERR_STATE_DELETE', undefined])
      assert.equal((await ask('DELETE', `/v1.0/state/${store}/%C3%BC%2Fk`, undefined, { 'if-match': etag })).status, 204)
      assert.deepEqual(
        [(await ask('GET', `/v1.0/state/${store}/%C3%BC%2Fk`)).status, (await ask('PUT', `/v1.0/state/${store}`, [])).status],
        [204, 204],
      )
    })

    it(`${store}: runs transactions and reads lists`, async () => {
      await ask('POST', `/v1.0/state/${store}`, [{ key: 'gone', value: 1 }])
      const operations = [
        { operation: 'upsert', request: { KEY: 't', value: 'v' } },
        { operation: 'delete', request: { key: 'gone' } },
      ]
      assert.equal((await ask('POST', `/v1.0/state/${store}/transaction`, { operations })).status, 204)
      const bulk = JSON.parse((await ask('POST', `/v1.0/state/${store}/bulk`, { keys: ['t', 'gone'] })).text) as Record<string, unknown>[]
      assert.deepEqual(
        bulk.map(({ etag: _, ...rest }) => rest),
        [{ key: 't', data: 'v' }, { key: 'gone' }],
      )
      assert.equal((await ask('POST', `/v1.0/state/${store}/bulk`, { keys: [] })).text, '[]')
      await refused(
        'POST',
        `/v1.0/state/${store}/transaction`,
        { operations: [{ operation: 'upsert', request: { key: 't', value: 1, etag: 'stale' } }] },
        500,
        'ERR_STATE_TRANSACTION',
        /^error while executing state transaction: possible etag mismatch/,
      )
    })
  }

  it('refuses broken bodies in Go’s words', async () => {
    for (const [body, message] of [
      ['[{"key":', 'unexpected EOF'],
      ['', 'EOF'],
      ['{}', 'json: cannot unmarshal object into Go value of type []state.SetRequest'],
      ['[{"key":7}]', 'json: cannot unmarshal number into Go struct field SetRequest.key of type string'],
      ['[{"key":""}]', '"key" is a required field'],
    ] as const)
      await refused('POST', '/v1.0/state/mem', body, 400, 'ERR_MALFORMED_REQUEST', message)
    await refused('POST', '/v1.0/state/mem/bulk', '{', 400, 'ERR_MALFORMED_REQUEST', 'failed deserializing HTTP body: unexpected EOF')
    await refused('POST', '/v1.0/state/mem', [{ key: 'k', value: 'x'.repeat(20_000) }], 400, 'ERR_MALFORMED_REQUEST', /too large/)
  })

  it('refuses odd options, operations, keys, stores and queries', async () => {
    await refused(
      'POST',
      '/v1.0/state/mem',
      [{ key: 'k', value: 1, options: { concurrency: 'maybe' } }],
      500,
      'ERR_STATE_SAVE',
      "failed saving state in state store mem: unrecognized concurrency model 'maybe'",
    )
    await refused(
      'POST',
      '/v1.0/state/mem/transaction',
      { operations: [{ operation: 'rename', request: { key: 'k' } }] },
      400,
      'ERR_NOT_SUPPORTED_STATE_OPERATION',
      'operation type rename not supported',
    )
    const illegal = await refused(
      'GET',
      '/v1.0/state/mem/a%7C%7Cb',
      undefined,
      400,
      'ERR_MALFORMED_REQUEST',
      /^api error: code = InvalidArgument/,
    )
    assert.deepEqual(
      (illegal.details as { '@type': string }[]).map((detail) => detail['@type'].split('.').at(-1)),
      ['BadRequest', 'ResourceInfo', 'ErrorInfo'],
    )
    const unknown = await refused('POST', '/v1.0/state/none', '[{"key":', 400, 'ERR_STATE_STORE_NOT_FOUND', 'state store none is not found')
    assert.deepEqual((unknown.details as { metadata: unknown }[])[0]?.metadata, { appID: 'app' })
    await refused('POST', '/v1.0-alpha1/state/mem/query', {}, 500, 'ERR_STATE_STORE_NOT_SUPPORTED', 'state store does not support querying')
  })
})
