import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { EtagError, type StateFeature, type StateItem, type StateSet, type StateStore } from './driver.ts'
import { deletesByPrefix, listsKeys } from './keys.ts'
import { parseQuery } from './query.ts'

export interface Subject {
  store: StateStore
  /** Ends what was started for the store; the suite disposes the store itself. */
  stop?(): Promise<void>
}

export interface ConformanceOptions {
  /** An ETag that this store could have given but has not. */
  badEtag: string
  /** An ETag that cannot be one of this store's. */
  invalidEtag?: { text: string; kind: 'mismatch' | 'invalid' }
  /** Capabilities this driver must claim, so that one cannot vanish unseen. */
  features: readonly StateFeature[]
  /** Whether reads tell `ttlExpireTime`. */
  tellsExpiry: boolean
  /** Whether a write without TTL leaves an older TTL in place. */
  keepsTtl?: boolean
  /** Whether a first-write without ETag is refused on a key that was written without first-write. */
  strictFirstWrite: boolean
  /** Whether a stale ETag inside a transaction is an EtagError. */
  transactionEtagError: boolean
  /** The protocol takes no JSON null: a write of it is refused. */
  refusesNull?: boolean
  /** The protocol has one error for a whole list and cannot name the key. */
  oneErrorForLists?: boolean
}

const PROOFS: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE', 'DELETE_WITH_PREFIX', 'QUERY_API']

/** What every state store must do, claim by claim. `open` gives an initialised store, or undefined to skip by name. */
export function stateConformance(name: string, open: () => Promise<Subject | undefined>, options: ConformanceOptions): void {
  describe(`state conformance: ${name}`, () => {
    let subject: Subject | undefined
    let missing = false
    const run = Math.random().toString(36).slice(2, 10)
    const id = (key: string) => `${run}-${key}`
    before(async () => {
      subject = await open()
      missing = subject === undefined
    })
    after(async () => {
      await subject?.store[Symbol.asyncDispose]()
      await subject?.stop?.()
    })

    const check = (title: string, body: (store: StateStore) => Promise<void>, feature?: StateFeature) =>
      it(title, async (context) => {
        if (missing || !subject) return context.skip(`no server for ${name} on this machine`)
        if (feature && !subject.store.features.includes(feature)) return context.skip(`${name} does not claim ${feature}`)
        await body(subject.store)
      })

    check('claims exactly what is expected, with the methods each claim needs', async (store) => {
      assert.deepEqual([...store.features].sort(), [...options.features].sort())
      assert.deepEqual(
        store.features.filter((feature) => !PROOFS.includes(feature)),
        [],
        'a claim without a proof',
      )
      assert.equal(store.transact !== undefined, store.features.includes('TRANSACTIONAL'))
      assert.equal(listsKeys(store) !== undefined, store.features.includes('KEYS_LIKE'))
      assert.equal(deletesByPrefix(store) !== undefined, store.features.includes('DELETE_WITH_PREFIX'))
      if (store.features.includes('QUERY_API')) assert.ok(store.query)
      await store.ping?.(AbortSignal.timeout(5000))
    })

    for (const [title, value, json] of [
      ['number', '123', true],
      ['boolean', 'true', true],
      ['null', 'null', true],
      ['text', '"hello <w&rld> ü 🙂 \\u0001"', true],
      ['empty text', '""', true],
      ['object', '{"message":"x","product":{"value":15},"list":[1,"b",{}]}', true],
      ['bytes', Buffer.from([0, 255, 1, 0xc3, 0x28]), false],
      ['bytes that are JSON', '{"a":"b"}', false],
      ['no bytes', '', false],
      ['64 KiB of bytes', Buffer.alloc(65_536, 0x85), false],
    ] as const) {
      check(`reads back ${title}`, async (store) => {
        const item = upsert(id(`value ${title}`), value, { json })
        if (title === 'null' && options.refusesNull) return void (await assert.rejects(store.set(item), /nil value/))
        await store.set(item)
        same(await store.get({ key: item.key, metadata: {} }), item)
        await store.delete({ kind: 'delete', key: item.key, metadata: {} })
        assert.equal(await store.get({ key: item.key, metadata: {} }), undefined)
      })
    }

    check('knows nothing of a key never written, and deletes it without complaint', async (store) => {
      assert.equal(await store.get({ key: id('never'), metadata: {} }), undefined)
      await store.delete({ kind: 'delete', key: id('never'), metadata: {} })
    })

    check('tells keys apart by case, spaces, quotes and wildcards', async (store) => {
      const keys = ['k\'"`;--', 'K', 'k', 'k ', 'k%', 'k_', 'k||ü||🙂', 'k\\'].map(id)
      await Promise.all(keys.map((key, index) => store.set(upsert(key, String(index)))))
      for (const [index, key] of keys.entries()) assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), String(index), key)
    })

    check('reads and writes lists', async (store) => {
      const items = [
        upsert(id('list a'), '1'),
        upsert(id('list b'), '"two"'),
        upsert(id('list c'), Buffer.from([1, 2, 255]), { json: false }),
        upsert(id('list d'), '{"x":[1]}'),
      ]
      await setAll(store, items)
      const found = await getAll(store, [...items.map((item) => item.key), id('list missing')])
      items.forEach((item, index) => void same(found[index], item))
      assert.equal(found.length, 5)
      assert.equal(found[4], undefined)
      await deleteAll(
        store,
        items.map((item) => ({ kind: 'delete', key: item.key, metadata: {} })),
      )
      assert.deepEqual(
        await getAll(
          store,
          items.map((item) => item.key),
        ),
        [undefined, undefined, undefined, undefined],
      )
    })

    check('keeps the last of one key given twice in a list', async (store) => {
      if (!store.bulkSet) return
      const key = id('twice')
      await store.bulkSet([upsert(key, '1'), upsert(id('twice other'), '0'), upsert(key, '2')])
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2')
    })

    check('writes 1,000 items of a list', async (store) => {
      const items = Array.from({ length: 1000 }, (_, index) => upsert(id(`many ${index}`), String(index)))
      await setAll(store, items)
      const found = await getAll(
        store,
        items.map((item) => item.key),
      )
      assert.deepEqual(
        found.map((item) => item?.data.toString()),
        items.map((_, index) => String(index)),
      )
      await deleteAll(
        store,
        items.map((item) => ({ kind: 'delete', key: item.key, metadata: {} })),
      )
      assert.equal(await store.get({ key: id('many 999'), metadata: {} }), undefined)
    })

    check('survives many writers of one key: every write is one of theirs', async (store) => {
      const key = id('contended')
      await Promise.all(Array.from({ length: 50 }, (_, index) => store.set(upsert(key, String(index)))))
      assert.ok(Number((await store.get({ key, metadata: {} }))?.data.toString()) < 50)
    })

    etagChecks(check, id, options)
    transactionChecks(check, id, options)
    ttlChecks(check, id, options)
    keyChecks(check, id)
    queryChecks(check, id)
  })
}

type Check = (title: string, body: (store: StateStore) => Promise<void>, feature?: StateFeature) => void
type Id = (key: string) => string

function etagChecks(check: Check, id: Id, options: ConformanceOptions): void {
  const { badEtag: bad } = options
  check(
    'gives a new ETag with every write, the same one in lists',
    async (store) => {
      const key = id('etag')
      await setAll(store, [upsert(key, '1'), upsert(id('etag other'), '1')])
      const first = await etagOf(store, key)
      assert.equal((await getAll(store, [key, id('etag other')]))[0]?.etag, first)
      await store.set(upsert(key, '2', { etag: first }))
      assert.notEqual(await etagOf(store, key), first)
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2')
      await rejectsEtag(store.set(upsert(key, '3', { etag: first })))
      await rejectsEtag(store.set(upsert(key, '3', { etag: bad })))
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2')
    },
    'ETAG',
  )
  check(
    'deletes with the current ETag only',
    async (store) => {
      const key = id('etag delete')
      await store.set(upsert(key, '1'))
      await rejectsEtag(store.delete({ kind: 'delete', key, etag: bad, metadata: {} }))
      assert.ok(await store.get({ key, metadata: {} }))
      await store.delete({ kind: 'delete', key, etag: await etagOf(store, key), metadata: {} })
      assert.equal(await store.get({ key, metadata: {} }), undefined)
    },
    'ETAG',
  )
  check(
    'refuses an ETag that is none of its own',
    async (store) => {
      if (!options.invalidEtag) return
      const { text, kind } = options.invalidEtag
      await store.set(upsert(id('etag odd'), '1'))
      await rejectsEtag(store.set(upsert(id('etag odd'), '2', { etag: text })), kind)
      assert.equal((await store.get({ key: id('etag odd'), metadata: {} }))?.data.toString(), '1')
    },
    'ETAG',
  )
  check(
    'writes the rest of a list when one ETag is stale, and names that one',
    async (store) => {
      const [one, two] = [id('partly bad'), id('partly good')]
      await setAll(store, [upsert(one, '1'), upsert(two, '1')])
      const [before, good] = [await etagOf(store, one), await etagOf(store, two)]
      const refused = options.oneErrorForLists ? (work: Promise<void>) => rejectsEtag(work) : rejectsOne
      await refused(setAll(store, [upsert(one, '2', { etag: bad }), upsert(two, '2', { etag: good })]), one)
      assert.equal(await etagOf(store, one), before)
      assert.equal((await store.get({ key: two, metadata: {} }))?.data.toString(), '2')
      await refused(
        deleteAll(store, [
          { kind: 'delete', key: two, etag: await etagOf(store, two), metadata: {} },
          { kind: 'delete', key: one, etag: bad, metadata: {} },
        ]),
        one,
      )
      assert.equal(await store.get({ key: two, metadata: {} }), undefined)
      assert.equal(await etagOf(store, one), before)
    },
    'ETAG',
  )
  check(
    'lets one first-write win',
    async (store) => {
      const key = id('first')
      const first = (value: string, etag?: string) =>
        store.set(upsert(key, value, { concurrency: 'first-write', consistency: 'strong', etag }))
      await first('1')
      await assert.rejects(first('2'))
      const etag = await etagOf(store, key)
      await first('3', etag)
      await assert.rejects(first('4', etag))
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '3')
      const race = id('first race')
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) => store.set(upsert(race, String(index), { concurrency: 'first-write' }))),
      )
      assert.equal(outcomes.filter((outcome) => outcome.status === 'fulfilled').length, 1)
    },
    'ETAG',
  )
  check(
    'first-write without ETag on a key written otherwise',
    async (store) => {
      const key = id('first later')
      await store.set(upsert(key, '1'))
      const later = store.set(upsert(key, '2', { concurrency: 'first-write' }))
      if (options.strictFirstWrite) await assert.rejects(later)
      else await later
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), options.strictFirstWrite ? '1' : '2')
    },
    'ETAG',
  )
}

function transactionChecks(check: Check, id: Id, options: ConformanceOptions): void {
  const del = (key: string, etag?: string) => ({ kind: 'delete', key: id(key), etag, metadata: {} }) as const
  check(
    'applies a transaction in its order',
    async (store) => {
      await store.set(upsert(id('t1'), '"value1"'))
      await store.transact?.(
        [
          del('t1'),
          upsert(id('t2'), '"value2"'),
          del('t2'),
          upsert(id('t3'), '"value3"'),
          del('t never'),
          upsert(id('t4'), Buffer.from([255, 0]), { json: false }),
        ],
        {},
      )
      const found = await getAll(store, ['t1', 't2', 't3', 't4'].map(id))
      assert.deepEqual(
        found.map((item) => item?.data),
        [undefined, undefined, Buffer.from('"value3"'), Buffer.from([255, 0])],
      )
      await store.transact?.([], {})
      await store.transact?.([del('t3')], {})
      assert.equal(await store.get({ key: id('t3'), metadata: {} }), undefined)
    },
    'TRANSACTIONAL',
  )
  check(
    'applies nothing of a transaction with a stale ETag, wherever it stands',
    async (store) => {
      await store.set(upsert(id('all'), '1'))
      for (const stale of [upsert(id('all'), '9', { etag: options.badEtag }), del('all', options.badEtag)]) {
        for (const operations of [
          [upsert(id('nothing'), '1'), stale],
          [stale, upsert(id('nothing'), '1')],
        ]) {
          await assert.rejects(
            Promise.resolve(store.transact?.(operations, {})),
            (error: unknown) => error instanceof EtagError === options.transactionEtagError,
          )
          assert.equal(await store.get({ key: id('nothing'), metadata: {} }), undefined)
          assert.equal((await store.get({ key: id('all'), metadata: {} }))?.data.toString(), '1')
        }
      }
      await store.transact?.([upsert(id('all'), '2', { etag: await etagOf(store, id('all')) }), upsert(id('nothing'), '2')], {})
      assert.equal((await store.get({ key: id('nothing'), metadata: {} }))?.data.toString(), '2')
    },
    'TRANSACTIONAL',
  )
  check(
    'loses no increment of concurrent transactions that repeat on a stale ETag',
    async (store) => {
      const key = id('counter')
      await store.set(upsert(key, '0'))
      const increment = async (): Promise<void> => {
        for (;;) {
          const item = await store.get({ key, metadata: {} })
          const done = await store.transact?.([upsert(key, String(Number(item?.data) + 1), { etag: item?.etag })], {}).then(
            () => true,
            () => false,
          )
          if (done) return
        }
      }
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (let turn = 0; turn < 5; turn++) await increment()
        }),
      )
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '40')
    },
    'TRANSACTIONAL',
  )
}

function ttlChecks(check: Check, id: Id, options: ConformanceOptions): void {
  const ttl = (seconds: string) => ({ metadata: { ttlInSeconds: seconds } })
  check(
    'refuses a TTL that is no number, in single writes, lists and transactions',
    async (store) => {
      await assert.rejects(store.set(upsert(id('ttl bad'), '1', ttl('foo'))), /invalid syntax/)
      await assert.rejects(setAll(store, [upsert(id('ttl bad'), '1', ttl('foo')), upsert(id('ttl bad 2'), '1', ttl('foo'))]))
      await assert.rejects(async () => store.transact?.([upsert(id('ttl bad'), '1', ttl('foo'))], {}))
      assert.equal(await store.get({ key: id('ttl bad'), metadata: {} }), undefined)
    },
    'TTL',
  )
  check(
    'forgets an item when its TTL has passed, everywhere',
    async (store) => {
      const key = id('ttl short')
      await store.set(upsert(key, '1', ttl('2')))
      await store.transact?.([upsert(`${key} t`, '1', ttl('2'))], {})
      await setAll(store, [upsert(`${key} l`, '1', ttl('2')), upsert(`${key} l2`, '1', ttl('2'))])
      const keys = [key, `${key} t`, `${key} l`, `${key} l2`]
      assert.ok((await store.get({ key: `${key} l2`, metadata: {} })) !== undefined, 'still there right after the write')
      const limit = Date.now() + 8000
      while ((await getAll(store, keys)).some((item) => item !== undefined)) {
        assert.ok(Date.now() < limit, 'still there after four times its TTL')
        await pause(50)
      }
      assert.deepEqual((await listsKeys(store)?.keysLike(`${key}%`, {}))?.keys ?? [], [])
      await store.set(upsert(key, '2', { concurrency: 'first-write' }))
      assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), '2', 'an expired key is free for a first-write')
    },
    'TTL',
  )
  check(
    'tells when an item expires, if it tells at all',
    async (store) => {
      const key = id('ttl long')
      await store.set(upsert(id('ttl none'), '1'))
      await store.set(upsert(key, '1', ttl('3600')))
      assert.equal((await store.get({ key: id('ttl none'), metadata: {} }))?.metadata?.ttlExpireTime, undefined)
      const told = (await store.get({ key, metadata: {} }))?.metadata?.ttlExpireTime
      assert.equal((await getAll(store, [key, id('ttl none')]))[0]?.metadata?.ttlExpireTime, told)
      if (!options.tellsExpiry) return assert.equal(told, undefined)
      assert.match(told ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
      assert.ok(Math.abs(Date.parse(told ?? '') - Date.now() - 3_600_000) < 10_000)
      await store.set(upsert(key, '1', ttl('-1')))
      assert.equal((await store.get({ key, metadata: {} }))?.metadata?.ttlExpireTime, undefined)
      await store.set(upsert(key, '1', ttl('3600')))
      await store.set(upsert(key, '1'))
      assert.equal((await store.get({ key, metadata: {} }))?.metadata?.ttlExpireTime !== undefined, options.keepsTtl ?? false)
    },
    'TTL',
  )
}

function keyChecks(check: Check, id: Id): void {
  const write = (store: StateStore, keys: readonly string[]) =>
    setAll(
      store,
      keys.map((key) => upsert(id(key), '1')),
    )
  check(
    'lists keys by pattern',
    async (store) => {
      const lists = listsKeys(store)
      assert.ok(lists)
      await assert.rejects(lists.keysLike('', {}))
      await write(store, [
        'p||key1',
        'p||key2',
        'p||q||key3',
        'o||key1',
        'abcd',
        'abc_',
        'ABCD',
        'hello_workflow',
        'hello%%',
        'w.r',
        'w*r',
        'w[o]r',
      ])
      const like = async (pattern: string) => (await lists.keysLike(id(pattern), {})).keys.map((key) => key.slice(id('').length)).sort()
      assert.deepEqual(await like('p||%'), ['p||key1', 'p||key2', 'p||q||key3'])
      assert.deepEqual(await like('%key1'), ['o||key1', 'p||key1'])
      assert.deepEqual(await like('p%||%||%'), ['p||q||key3'])
      assert.deepEqual(await like('abc_'), ['abc_', 'abcd'])
      assert.deepEqual(await like('abc\\_'), ['abc_'])
      assert.deepEqual(await like('hello\\_%'), ['hello_workflow'])
      assert.deepEqual(await like('hello\\%\\%'), ['hello%%'])
      assert.deepEqual(await like('w.r'), ['w.r'])
      assert.deepEqual(await like('w*r'), ['w*r'])
      assert.deepEqual(await like('w[o]r'), ['w[o]r'])
    },
    'KEYS_LIKE',
  )
  check(
    'pages through keys without losing or repeating one',
    async (store) => {
      const lists = listsKeys(store)
      assert.ok(lists)
      await write(
        store,
        Array.from({ length: 12 }, (_, index) => `page-${index}`),
      )
      const seen: string[] = []
      let token: string | undefined
      for (const [size, more] of [
        [6, true],
        [5, true],
        [100, false],
      ] as const) {
        const page = await lists.keysLike(id('page-%'), { size, ...(token === undefined ? {} : { token }) })
        seen.push(...page.keys)
        token = page.token
        assert.equal(token !== undefined, more)
      }
      assert.equal(new Set(seen).size, 12)
      assert.equal(seen.length, 12)
    },
    'KEYS_LIKE',
  )
  check(
    'deletes by prefix, not deeper',
    async (store) => {
      const deletes = deletesByPrefix(store)
      assert.ok(deletes)
      for (const prefix of ['', '||']) await assert.rejects(deletes.deleteWithPrefix(prefix), /prefix is required/)
      await write(store, ['d||key1', 'd||key2', 'd||e||key3', 'f||key1', 'd'])
      assert.equal(await deletes.deleteWithPrefix(id('d||')), 2)
      assert.equal(await deletes.deleteWithPrefix(id('f')), 1)
      const left = await getAll(store, ['d||key1', 'd||e||key3', 'd'].map(id))
      assert.deepEqual(
        left.map((item) => item !== undefined),
        [false, true, true],
      )
    },
    'DELETE_WITH_PREFIX',
  )
}

function queryChecks(check: Check, id: Id): void {
  check(
    'answers queries',
    async (store) => {
      const data = [
        { message: id('A'), product: { value: 15 }, status: 'ACTIVE' },
        { message: id('B'), product: { value: 0.5 }, status: 'INACTIVE' },
        { message: id('C'), product: { value: 12 }, status: 'ACTIVE' },
      ]
      for (const [index, value] of data.entries()) await store.set(upsert(id(`query ${index}`), JSON.stringify(value)))
      const ask = async (query: object) =>
        await store.query?.(parseQuery(JSON.stringify(query)), { contentType: 'application/json', queryIndexName: 'qIndx' })
      const keys = async (query: object) => (await ask(query))?.results.map((result) => result.key)
      const q = (...indexes: number[]) => indexes.map((index) => id(`query ${index}`))
      const sort = [{ key: 'message' }]
      assert.deepEqual(await keys({ filter: { OR: [{ EQ: { message: id('A') } }, { IN: { message: [id('x'), id('y')] } }] } }), q(0))
      assert.deepEqual(
        await keys({
          filter: {
            AND: [
              { EQ: { message: id('A') } },
              { GTE: { 'product.value': 15 } },
              { LT: { 'product.value': 16 } },
              { NEQ: { status: 'INACTIVE' } },
            ],
          },
        }),
        q(0),
      )
      assert.deepEqual(
        await keys({
          filter: {
            OR: [
              { AND: [{ EQ: { message: id('B') } }, { LTE: { 'product.value': 0.5 } }] },
              { AND: [{ EQ: { message: id('B') } }, { GT: { 'product.value': 11.1 } }] },
            ],
          },
        }),
        q(1),
      )
      const all = { IN: { message: ['A', 'B', 'C'].map(id) } }
      assert.deepEqual(await keys({ filter: all, sort: [{ key: 'message', order: 'DESC' }] }), q(2, 1, 0))
      const first = await ask({ filter: all, sort, page: { limit: 2 } })
      assert.deepEqual(
        first?.results.map((result) => result.key),
        q(0, 1),
      )
      assert.deepEqual(JSON.parse(first?.results[1]?.data.toString() ?? ''), data[1])
      assert.ok(first?.results[0]?.etag)
      assert.deepEqual(await keys({ filter: all, sort, page: { limit: 2, token: first?.token } }), q(2))
      assert.deepEqual(await keys({ filter: { EQ: { "x' OR 1=1 --": id('A') } } }), [])
    },
    'QUERY_API',
  )
}

function upsert(key: string, value: string | Buffer, rest: Partial<StateSet> = {}): StateSet {
  return { kind: 'upsert', key, value: Buffer.from(value), json: true, metadata: {}, ...rest }
}

/** JSON may come back written differently, bytes may not. */
function same(found: StateItem | Error | undefined, item: StateSet): void {
  if (found === undefined || found instanceof Error) assert.fail(`${item.key} is not there: ${found}`)
  if (item.json) assert.deepEqual(JSON.parse(found.data.toString()), JSON.parse(item.value.toString()))
  else assert.deepEqual(found.data, item.value)
}

async function etagOf(store: StateStore, key: string): Promise<string> {
  const etag = (await store.get({ key, metadata: {} }))?.etag
  assert.ok(etag, `${key} has no ETag`)
  return etag
}

async function rejectsEtag(work: Promise<void>, kind: 'mismatch' | 'invalid' = 'mismatch'): Promise<void> {
  await assert.rejects(work, (error: unknown) => error instanceof EtagError && error.kind === kind)
}

/** A list that failed for this key alone. */
async function rejectsOne(work: Promise<void>, key: string): Promise<void> {
  await assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof AggregateError)
    assert.equal(error.errors.length, 1)
    assert.ok(error.errors[0] instanceof EtagError)
    assert.equal((error.errors[0] as EtagError & { key?: string }).key, key)
    return true
  })
}

async function setAll(store: StateStore, items: readonly StateSet[]): Promise<void> {
  return store.bulkSet ? store.bulkSet(items) : each(items, (item) => store.set(item))
}

async function deleteAll(store: StateStore, items: readonly Parameters<StateStore['delete']>[0][]): Promise<void> {
  return store.bulkDelete ? store.bulkDelete(items) : each(items, (item) => store.delete(item))
}

async function getAll(store: StateStore, keys: readonly string[]): Promise<(StateItem | undefined)[]> {
  const requests = keys.map((key) => ({ key, metadata: {} }))
  if (!store.bulkGet) return Promise.all(requests.map((request) => store.get(request)))
  return (await store.bulkGet(requests)).map((item) => (item instanceof Error ? assert.fail(item) : item))
}

async function each<T extends { key: string }>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const outcomes = await Promise.allSettled(items.map(work))
  const errors = outcomes.flatMap((outcome, index) =>
    outcome.status === 'rejected' ? [Object.assign(outcome.reason as Error, { key: items[index]?.key })] : [],
  )
  if (errors.length) throw new AggregateError(errors)
}
