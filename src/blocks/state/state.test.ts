import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Named } from '../../components/sets.ts'
import { driver } from '../../components/state/in-memory/driver.ts'
import { Code, errorInfo, OutriderError } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import type { StateOperation, StateStore } from './driver.ts'
import { overHttp } from './errors.ts'
import { createStateBlock, type StateBlockOptions } from './state.ts'
import { valueFromBytes, valueFromJson } from './value.ts'

const log = createLogger({ level: 'error', json: false, appId: 'app', version: 'test' })

function setup(properties: Record<string, string> = {}, rest: Partial<StateBlockOptions> = {}) {
  const component = driver.create({ name: 'Store', type: 'state.in-memory', version: 'v1', properties, appId: 'app', namespace: '', log })
  const store: Named<StateStore> = { name: 'Store', type: 'state.in-memory', version: 'v1', component, properties }
  return { block: createStateBlock({ stores: new Map([['Store', store]]), appId: 'app', namespace: '', ...rest }), component, store }
}
const item = (key: string, value: unknown, rest = {}) => ({ key, ...valueFromJson(value), metadata: {}, ...rest })
const raw = async (component: StateStore, key: string) => (await component.get({ key, metadata: {} }))?.data.toString()

async function failure(work: Promise<unknown>): Promise<OutriderError> {
  const error: unknown = await work.then(
    () => assert.fail('it did not fail'),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof OutriderError, String(error))
  assert.ok(error.hint, `${error.code} has no hint`)
  return error
}

describe('state block', () => {
  for (const [strategy, namespace, stored] of [
    [undefined, '', 'app||k'],
    ['AppID', 'ns', 'app||k'],
    ['name', 'ns', 'Store||k'],
    ['namespace', 'ns', 'ns.app||k'],
    ['namespace', '', 'app||k'],
    ['none', 'ns', 'k'],
    ['Shared', 'ns', 'shared||k'],
  ] as const) {
    it(`stores under ${stored} with keyPrefix ${strategy} and namespace "${namespace}"`, async () => {
      const { block, component } = setup(strategy ? { keyprefix: strategy } : {}, { namespace })
      await block.save('Store', [item('k', 1)])
      assert.equal(await raw(component, stored), '1')
      assert.equal((await block.get('Store', { key: 'k', metadata: {} }))?.data.toString(), '1')
    })
  }

  it('refuses a keyPrefix that holds the separator', () => {
    const { block, store } = setup({ keyprefix: 'a||b' })
    assert.throws(() => block.check(store), /can't contain '\|\|'/)
  })

  it('refuses || in keys everywhere, wrapped once more over HTTP', async () => {
    const { block } = setup()
    const key = 'a||b'
    for (const work of [
      block.get('Store', { key, metadata: {} }),
      block.save('Store', [item(key, 1)]),
      block.delete('Store', { key, metadata: {} }),
      block.bulkDelete('Store', [{ key, metadata: {} }]),
      block.bulkGet('Store', { keys: [key], metadata: {} }),
      block.transact('Store', [{ operation: 'delete', key, metadata: {} }], {}),
    ]) {
      const error = await failure(work)
      assert.equal(error.message, "input key/keyPrefix 'a||b' can't contain '||'")
      assert.equal(error.grpc, Code.InvalidArgument)
      assert.equal(overHttp(error, 'app').message, `api error: code = InvalidArgument desc = ${error.message}`)
    }
  })

  it("gives a store's own error as it is, over HTTP in the words of the operation", async () => {
    const { block, component } = setup()
    const own = new OutriderError({ code: 'own', http: 507, grpc: Code.Aborted, message: 'mine', hint: 'h', details: [errorInfo('why')] })
    component.bulkGet = () => Promise.reject(own)
    component.get = () => Promise.reject(own)
    for (const [code, prefix, work] of [
      ['ERR_STATE_BULK_GET', '', block.bulkGet('Store', { keys: ['a'], metadata: {} })],
      ['ERR_STATE_GET', 'fail to get a from state store Store: ', block.get('Store', { key: 'a', metadata: {} })],
    ] as const) {
      const error = await failure(work)
      assert.deepEqual([error.code, error.grpc, error.message, error.details], ['own', Code.Aborted, 'mine', [errorInfo('why')]])
      const http = overHttp(error, 'app')
      assert.deepEqual(
        [http.code, http.http, http.message, http.details],
        [code, 507, `${prefix}api error: code = Aborted desc = mine`, []],
      )
    }
  })

  it('refuses an illegal key before an unknown operation; over HTTP a transaction names no field', async () => {
    const { block } = setup()
    const given = { ...item('a||b', 1), operation: 'rename' }
    const error = await failure(block.transact('Store', [given], {}))
    const field = ({ details }: OutriderError) => (details[0]?.field_violations as { field: string }[] | undefined)?.[0]?.field
    assert.deepEqual([field(error), field(overHttp(error, 'app')), field(overHttp(error, 'app', 'transaction'))], ['a||b', 'a||b', ''])
    assert.equal((await failure(block.transact('Store', [{ ...given, key: 'a' }], {}))).code, 'ERR_NOT_SUPPORTED_STATE_OPERATION')
  })

  it('says of a list whose ETags alone are wrong so in front, and names the keys in the hint', async () => {
    const { block } = setup()
    const prefix = 'failed saving state in state store Store: '
    const etag = 'possible etag mismatch. error from state store'
    const gone = (key: string) => `${etag}: state not exist or expired for key=app||${key}`
    const one = await failure(block.save('Store', [item('a', 1, { etag: '9' })]))
    assert.equal(one.message, `${prefix}${gone('a')}`)
    assert.doesNotMatch(one.hint ?? '', /failed:/)
    const list = await failure(block.save('Store', [item('a', 1, { etag: '9' }), item('b', 1), item('c', 1, { etag: '8' })]))
    assert.deepEqual([list.code, list.http, list.grpc], ['ERR_STATE_SAVE', 409, Code.Aborted])
    assert.equal(list.message, `${prefix}${etag}: ${gone('a')}\n${gone('c')}`)
    assert.match(list.hint ?? '', / \(failed: a, c\)$/)
    const mixed = await failure(block.save('Store', [item('a', 1, { etag: '9' }), item('b', 1, { metadata: { ttlInSeconds: 'soon' } })]))
    assert.equal(mixed.message, `${prefix}${gone('a')}\nstrconv.Atoi: parsing "soon": invalid syntax`)
  })

  it('tells an unknown store from no store', async () => {
    const unknown = await failure(setup().block.get('other', { key: 'k', metadata: {} }))
    assert.deepEqual(
      [unknown.code, unknown.http, unknown.grpc, unknown.message],
      ['ERR_STATE_STORE_NOT_FOUND', 400, Code.InvalidArgument, 'state store other is not found'],
    )
    const none = await failure(
      createStateBlock({ stores: new Map(), appId: 'app', namespace: '' }).get('other', { key: 'k', metadata: {} }),
    )
    assert.deepEqual([none.code, none.http, none.grpc], ['ERR_STATE_STORE_NOT_CONFIGURED', 500, Code.FailedPrecondition])
  })

  it('writes the rest of a list, and answers with the conflict', async () => {
    const { block } = setup()
    await block.save('Store', [item('a', 1), item('b', 1)])
    const error = await failure(block.save('Store', [item('a', 2, { etag: 'stale' }), item('b', 2)]))
    assert.deepEqual([error.code, error.http, error.grpc], ['ERR_STATE_SAVE', 409, Code.Aborted])
    const found = await block.bulkGet('Store', { keys: ['a', 'none', 'b'], metadata: {}, parallelism: 2 })
    assert.deepEqual(
      found.map(({ key, item: held }) => [key, held?.data.toString()]),
      [
        ['a', '1'],
        ['none', undefined],
        ['b', '2'],
      ],
    )
  })

  it('takes an empty ETag for none', async () => {
    const { block } = setup()
    await block.save('Store', [item('new', 1, { etag: '' })])
    await block.delete('Store', { key: 'new', etag: '', metadata: {} })
    assert.equal(await block.get('Store', { key: 'new', metadata: {} }), undefined)
  })

  it('hands a transaction to the outbox before it is run, and runs nothing when that fails', async () => {
    const outbox = { outboxpublishpubsub: 'ps', outboxpublishtopic: 't' }
    const marker: StateOperation = { kind: 'upsert', key: 'outbox-1', value: Buffer.from('0'), json: true, metadata: {} }
    const { block, component } = setup(outbox, { publishOutbox: async (_store, operations) => [...operations, marker] })
    await block.transact('Store', [{ operation: 'upsert', ...item('k', 1) }], {})
    assert.deepEqual([await raw(component, 'app||k'), await raw(component, 'outbox-1')], ['1', '0'])
    const broken = setup(outbox, { publishOutbox: () => Promise.reject(new Error('no broker')) })
    await assert.rejects(broken.block.transact('Store', [{ operation: 'upsert', ...item('k', 1) }], {}), /no broker/)
    assert.equal(await raw(broken.component, 'app||k'), undefined)
  })
})

describe('state encryption', () => {
  const key = '0123456789abcdef0123456789abcdef'
  const other = 'f'.repeat(64)
  const secretName = (_store: string, property: string) => (property === 'primaryEncryptionKey' ? 'current' : 'previous')

  it('keeps records unreadable in the store and gives them back', async () => {
    const { block, component } = setup({ primaryencryptionkey: key }, { secretName })
    await block.save('Store', [item('text', 'plain words'), item('object', { a: 1 })])
    await block.transact('Store', [{ operation: 'upsert', key: 'bytes', value: Buffer.from([0, 255]), json: false, metadata: {} }], {})
    assert.match((await raw(component, 'app||text')) ?? '', /^[A-Za-z0-9+/]+=*\|\|current$/)
    const found = await block.bulkGet('Store', { keys: ['text', 'object', 'bytes'], metadata: {} })
    assert.deepEqual(
      found.map(({ item: held }) => held?.data),
      [Buffer.from('plain words'), Buffer.from('{"a":1}'), Buffer.from([0, 255])],
    )
  })

  it('reads old records with the secondary key and refuses altered ones', async () => {
    const { component, block } = setup({ primaryencryptionkey: other, secondaryencryptionkey: key }, { secretName })
    const old = setup({ primaryencryptionkey: key }, { secretName: () => 'previous' })
    await old.block.save('Store', [item('k', 'old')])
    const record = (await raw(old.component, 'app||k')) as string
    const put = (text: string) => component.set({ kind: 'upsert', key: 'app||k', value: Buffer.from(text), json: false, metadata: {} })
    await put(record)
    assert.equal((await block.get('Store', { key: 'k', metadata: {} }))?.data.toString(), 'old')
    await put(record.replace(/^./, (first) => (first === 'A' ? 'B' : 'A')))
    assert.equal((await failure(block.get('Store', { key: 'k', metadata: {} }))).code, 'ERR_STATE_GET')
    await put('clear text')
    assert.match((await failure(block.get('Store', { key: 'k', metadata: {} }))).message, /encryption key name not found/)
  })

  it('never falls back to clear text', () => {
    for (const [properties, names] of [
      [{ primaryencryptionkey: key }, () => undefined],
      [{ primaryencryptionkey: 'xyz' }, secretName],
      [{ secondaryencryptionkey: key }, secretName],
    ] as const) {
      const { block, store } = setup(properties, { secretName: names })
      assert.throws(() => block.check(store), { name: 'MetadataError' })
    }
  })
})

describe('values over gRPC', () => {
  it('are JSON when their metadata says so, and refused in Go’s words when they are not', () => {
    assert.deepEqual(valueFromBytes(Buffer.from(' {"y": 2}'), { contentType: 'application/json' }), {
      value: Buffer.from('{"y":2}'),
      json: true,
    })
    assert.deepEqual(valueFromBytes(Buffer.from('no json'), {}), { value: Buffer.from('no json'), json: false })
    assert.throws(() => valueFromBytes(Buffer.from('no json'), { contentType: 'application/json' }), {
      message: "invalid character 'o' in literal null (expecting 'u')",
      grpc: Code.Unknown,
    })
  })
})
