import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type Cases, same, upsert } from './kit.ts'

/** What is written is read: every kind of value under every kind of key. */
export function valueCases({ check, id, options }: Cases): void {
  for (const [title, value, json] of [
    ['number', '123', true],
    ['boolean', 'true', true],
    ['null', 'null', true],
    ['text', '"hello <w&rld> ü 🙂 \\u0001"', true],
    ['empty text', '""', true],
    ['object', '{"message":"x","product":{"value":15},"list":[1,"b",{}]}', true],
    ['bytes', Buffer.from([0, 255, 1, 0xc3, 0x28]), false],
    ['every byte', Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), false],
    ['bytes that are JSON', '{"a":"b"}', false],
    ['bytes that look like an answer of the protocol', '\r\nEND\r\nVALUE x 0 3\r\n$-1\r\n', false],
    ['no bytes', '', false],
    ['64 KiB of bytes', Buffer.alloc(65_536, 0x85), false],
  ] as const) {
    check(`reads back ${title}`, async (store, unclaimed) => {
      const item = upsert(id(`value ${title}`), value, { json })
      if (title === 'null' && options.refusesNull) {
        await assert.rejects(store.set(item), /nil value/)
        return unclaimed()
      }
      await store.set(item)
      same(await store.get({ key: item.key, metadata: {} }), item)
      await store.delete({ kind: 'delete', key: item.key, metadata: {} })
      assert.equal(await store.get({ key: item.key, metadata: {} }), undefined)
    })
  }

  check('reads back a value as large as it takes, and refuses a larger one without harm', async (store) => {
    // Without a limit of its own, what the API takes by default.
    const size = options.largestValue ?? 4 * 1024 * 1024
    const item = upsert(id('large'), randomBytes(size - 4096), { json: false })
    await store.set(item)
    same(await store.get({ key: item.key, metadata: {} }), item)
    if (options.largestValue) {
      await assert.rejects(store.set(upsert(id('larger'), randomBytes(size + 4096), { json: false })))
      assert.equal(await store.get({ key: id('larger'), metadata: {} }), undefined)
      same(await store.get({ key: item.key, metadata: {} }), item)
    }
    await store.delete({ kind: 'delete', key: item.key, metadata: {} })
  })

  check('knows nothing of a key never written, and deletes it without complaint', async (store) => {
    assert.equal(await store.get({ key: id('never'), metadata: {} }), undefined)
    await store.delete({ kind: 'delete', key: id('never'), metadata: {} })
  })

  const takes = (name: string) => ![...(options.refusedInKeys ?? '')].some((one) => name.includes(one))
  const keys = (title: string, names: readonly string[]) =>
    check(title, async (store) => {
      for (const name of names) if (!takes(name)) await assert.rejects(store.set(upsert(id('') + name, '')), /choose another key/)
      const stored = names.filter(takes).map((name) => id('') + name)
      await Promise.all(stored.map((key, index) => store.set(upsert(key, String(index)))))
      for (const [index, key] of stored.entries())
        assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), String(index), key)
    })
  keys('tells keys apart by case, quotes and wildcards', ['k\'"`;--', 'K', 'k', 'k%', 'k_', 'k*', 'k||v', 'k\\', 'k/', 'k/../k', '$k'])
  keys('tells keys apart by script, accent and normal form', [
    'ü',
    'u',
    'ü'.normalize('NFD'),
    '键',
    '🙂',
    '🙃',
    'ß',
    'ss',
    'İ',
    'i',
    'ﬁ',
    'fi',
  ])
  check('tells keys apart by spaces, or refuses them', async (store) => {
    const names = ['s', 's ', ' s', 's\t', 's\n'].map((name) => id('') + name)
    const refusal = (key: string) => {
      if (options.plainKeys && /\s/.test(key)) return /invalid characters/
      if (!takes(key)) return /choose another key/
      return options.noTrailingSpace && key.endsWith(' ') ? /ends with a space/ : undefined
    }
    for (const [index, key] of names.entries()) {
      const written = store.set(upsert(key, String(index)))
      const told = refusal(key)
      if (told) await assert.rejects(written, told)
      else await written
    }
    for (const [index, key] of names.entries())
      if (!refusal(key)) assert.equal((await store.get({ key, metadata: {} }))?.data.toString(), String(index))
  })
}
