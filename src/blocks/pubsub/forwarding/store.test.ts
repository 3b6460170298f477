import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { openSqlite } from '../../../storage/sqlite.ts'
import { ForwardStore, type Lane } from './store.ts'

const root = mkdtempSync(join(tmpdir(), 'outrider-forward-store-'))
after(() => rmSync(root, { recursive: true, force: true }))

const open = (file: string, owner = 'app') => new ForwardStore({ file: join(root, file), owner, synchronous: 'normal' })
const event = (text: string, key = '', topic = 't') => ({
  topic,
  key,
  data: Buffer.from(text),
  contentType: 'text/plain',
  metadata: { own: text },
})
const NEVER = Number.MAX_SAFE_INTEGER
const MUCH = 1e6

const START: Lane = { topic: '', key: '' }
function lanes(store: ForwardStore): string[] {
  const found: string[] = []
  for (let lane = store.nextLane('ps', START); lane; lane = store.nextLane('ps', lane)) found.push(`${lane.topic}/${lane.key}`)
  return found
}
function texts(store: ForwardStore, lane: Lane): string[] {
  const found: string[] = []
  for (let row = store.head('ps', lane, 0); row; row = store.head('ps', lane, row.seq)) found.push(row.data.toString())
  return found
}

test('what was appended is there after the file is opened again, by lane in its order', async () => {
  {
    using store = open('again')
    const all = [event('1', 'k'), event('2'), event('3', 'k'), event('4', 'k', 's'), event('5')]
    assert.deepEqual(
      await Promise.all(all.map((one) => store.append('ps', one, NEVER, MUCH))),
      all.map(() => true),
    )
  }
  using store = open('again')
  assert.deepEqual(lanes(store), ['s/k', 't/', 't/k'])
  assert.deepEqual(texts(store, { topic: 't', key: 'k' }), ['1', '3'])
  assert.deepEqual(texts(store, { topic: 't', key: '' }), ['2', '5'])
  const first = store.head('ps', { topic: 't', key: 'k' }, 0)
  assert.deepEqual([first?.contentType, first?.metadata, first?.expiresAt], ['text/plain', { own: '1' }, NEVER])
  assert.equal(store.waiting('ps').events, 5)
  assert.ok(Date.now() - (store.waiting('ps').oldest?.getTime() ?? 0) < 60_000)
  assert.deepEqual([store.holds('ps', { topic: 't', key: 'k' }), store.holds('ps', { topic: 't', key: 'other' })], [true, false])
})

test('bytes are bounded for each pub/sub, and come free again; owners do not see each other', async () => {
  using store = open('bound')
  using other = open('bound', 'other')
  const size = async (text: string) => {
    await store.append('size', event(text), NEVER, MUCH)
    return store.waiting('size').bytes
  }
  const one = await size('x')
  const limit = 3 * one
  const append = () => store.append('ps', event('x'), NEVER, limit)
  assert.deepEqual(await Promise.all([append(), append(), append(), append()]), [true, true, true, false])
  assert.deepEqual([store.waiting('ps').events, store.waiting('ps').bytes], [3, limit])
  assert.equal(await other.append('ps', event('theirs'), NEVER, limit), true)
  assert.deepEqual(
    store.pubsubs().map(({ pubsub, events }) => `${pubsub} ${events}`),
    ['ps 3', 'size 1'],
  )
  const { seq } = store.head('ps', { topic: 't', key: '' }, 0) as { seq: number }
  // Twice, as after an end between taking and noting: counted once.
  await Promise.all([store.remove('ps', seq), store.remove('ps', seq)])
  assert.equal(await append(), true)
  assert.equal(await append(), false)
  assert.deepEqual(texts(other, { topic: 't', key: '' }), ['theirs'])
})

test('only what is too old expires, told by topic', async () => {
  using store = open('old')
  for (const [text, topic, at] of [
    ['1', 'a', 100],
    ['2', 'b', 200],
    ['3', 'a', 150],
    ['4', 'a', 300],
  ] as const)
    await store.append('ps', event(text, '', topic), at, MUCH)
  assert.equal(store.nextExpiry('ps'), 100)
  assert.deepEqual(
    [...(await store.expire('ps', 200))],
    [
      ['a', 2],
      ['b', 1],
    ],
  )
  assert.deepEqual([...(await store.expire('ps', 200))], [])
  assert.deepEqual([store.waiting('ps').events, store.nextExpiry('ps')], [1, 300])
})

test('one forwards at a time; the right ends with its process', async () => {
  using first = open('lease')
  using second = open('lease')
  assert.equal(await first.lease('ps'), true)
  assert.equal(await first.lease('ps'), true)
  assert.equal(await second.lease('ps'), false)
  assert.equal(await second.lease('other'), true)
  await second.release('ps')
  assert.equal(await second.lease('ps'), false, 'nobody gives away what another has')
  await first.release('ps')
  assert.equal(await second.lease('ps'), true)
  // As if its process had been killed.
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  using database = openSqlite(join(root, 'lease'))
  database.prepare("UPDATE forward_leases SET pid = ? WHERE pubsub = 'ps'").run(pid)
  assert.equal(await first.lease('ps'), true)
})

test('a lock of another process delays a write and nothing else', async () => {
  using store = open('busy')
  const other = openSqlite(join(root, 'busy'))
  other.exec('BEGIN IMMEDIATE')
  let written = false
  const append = store.append('ps', event('x'), NEVER, MUCH).then((fits) => {
    written = fits
  })
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(written, false)
  other.exec('COMMIT')
  other.close()
  await append
  assert.equal(written, true)
})
