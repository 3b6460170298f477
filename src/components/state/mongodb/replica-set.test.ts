import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { MongoClient } from 'mongodb'
import { EtagError, type StateOperation, type StateStore } from '../../../blocks/state/driver.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { type DoubleOptions, MongoDouble } from '../../mongodb/testing/double.ts'
import { driver } from './driver.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })

async function open(double: MongoDouble, properties: Record<string, string> = {}): Promise<StateStore> {
  const context = { name: 's', type: 'state.mongodb', version: 'v1', appId: 'app', namespace: '', log }
  const store = driver.create({ ...context, properties: { connectionString: double.address, operationTimeout: '5s', ...properties } })
  await store.init(AbortSignal.timeout(10_000))
  return store
}

const upsert = (key: string, value: string, etag?: string) =>
  ({ kind: 'upsert', key, value: Buffer.from(value), json: true, metadata: {}, ...(etag ? { etag } : {}) }) as const
const textOf = async (store: StateStore, key: string) => (await store.get({ key, metadata: {} }))?.data.toString()
const etagOf = async (store: StateStore, key: string) => (await store.get({ key, metadata: {} }))?.etag as string
const transact = (store: StateStore, ...operations: StateOperation[]) => store.transact?.(operations, {})

function withSet(name: string, test: (double: MongoDouble) => Promise<void>, options: DoubleOptions = {}): void {
  it(name, { timeout: 30_000 }, async () => {
    await using double = await MongoDouble.start(options)
    await test(double)
  })
}

describe('state.mongodb on a replica set', () => {
  withSet('the stand-in is one to the official client: transactions, conflicts, elections', async (double) => {
    await using client = await MongoClient.connect(double.address, { heartbeatFrequencyMS: 500 })
    const collection = client.db('d').collection<{ _id: string; n: number }>('c')
    await collection.insertOne({ _id: 'a', n: 1 })
    await using session = client.startSession()
    await assert.rejects(
      session.withTransaction(async () => {
        await collection.updateOne({ _id: 'a' }, { $set: { n: 2 } }, { session })
        throw new Error('no')
      }),
    )
    assert.equal((await collection.findOne({ _id: 'a' }))?.n, 1)
    await session.withTransaction(async () => {
      const found = await collection.findOne({ _id: 'a' }, { session })
      await collection.updateOne({ _id: 'a' }, { $set: { n: (found?.n ?? 0) + 1 } }, { session })
    })
    double.elect(1)
    await collection.updateOne({ _id: 'a' }, { $set: { n: 3 } })
    double.mishap({ command: 'commitTransaction', times: 1, what: 'lost' })
    await session.withTransaction(() => collection.updateOne({ _id: 'a' }, { $set: { n: 4 } }, { session }))
    assert.equal((await collection.findOne({ _id: 'a' }))?.n, 4)
  })

  withSet('goes on at the new primary after an election and after a death, from any one member named', async (double) => {
    await using store = await open(double, {
      connectionString: `mongodb://127.0.0.1:${double.members[2]?.port}/?replicaSet=${double.setName}`,
    })
    await store.set(upsert('key', '0'))
    for (const [round, change] of [
      async () => double.elect(1),
      async () => {
        await double.kill(1)
        double.elect(2)
      },
      async () => {
        double.elect(-1)
        setTimeout(() => double.elect(0), 700)
      },
    ].entries()) {
      await change()
      const began = performance.now()
      await Promise.all([store.set(upsert('key', String(round + 1))), transact(store, upsert(`t${round}`, '1'), upsert(`u${round}`, '2'))])
      assert.ok(performance.now() - began < 3000, `${performance.now() - began} ms`)
      assert.equal(await textOf(store, 'key'), String(round + 1))
      assert.equal(await textOf(store, `u${round}`), '2')
    }
  })

  withSet('says that there is no primary when none comes in time, and works once one is there', async (double) => {
    await using store = await open(double, { operationTimeout: '400ms' })
    double.elect(-1)
    await assert.rejects(store.set(upsert('key', '1')), /cannot reach MongoDB at .*replica set rs0 has no primary/)
    double.elect(1)
    await store.set(upsert('key', '2'))
  })

  withSet('does a write once whose answer was lost, with an ETag as well', async (double) => {
    await using store = await open(double)
    await store.set(upsert('key', '1'))
    for (const what of ['lost', 'cut', 10_107, 11_602] as const) {
      double.mishap({ command: 'update', times: 1, what, labels: ['RetryableWriteError'] })
      // Done twice it would be refused: the first time gives a new ETag.
      await store.set(upsert('key', JSON.stringify(what), await etagOf(store, 'key')))
      assert.equal(await textOf(store, 'key'), JSON.stringify(what))
    }
    double.mishap({ command: 'delete', times: 1, what: 'lost' })
    await store.delete({ kind: 'delete', key: 'key', etag: await etagOf(store, 'key'), metadata: {} })
    double.mishap({ command: 'find', times: 2, what: 'cut' })
    assert.equal(await textOf(store, 'key'), undefined)
    double.mishap({ command: 'update', times: 1, what: 'lost' })
    await store.set({ ...upsert('once', '1'), concurrency: 'first-write' })
    assert.equal(await textOf(store, 'once'), '1')
  })

  withSet('never does a write again where retryWrites=false, and says so', async (double) => {
    await using store = await open(double, { connectionString: `${double.address}&retryWrites=false` })
    double.mishap({ command: 'update', times: 1, what: 'lost' })
    await assert.rejects(store.set(upsert('key', '1')), /cannot reach MongoDB/)
    assert.equal(double.commands.filter((name) => name === 'update').length, 1)
    // What was never asked is no second time.
    await double.kill(0)
    setTimeout(() => void double.restart(0), 300)
    await store.set(upsert('key', '2'))
    assert.equal(await textOf(store, 'key'), '2')
  })

  withSet('a transaction is done all or not at all, through conflicts, lost commits and elections', async (double) => {
    await using store = await open(double)
    await store.set(upsert('sum', '0'))
    for (const what of ['lost', 'cut'] as const) {
      double.mishap({ command: 'commitTransaction', times: 1, what })
      await transact(store, upsert('sum', JSON.stringify(what)), upsert('other', '1'))
      assert.equal(await textOf(store, 'sum'), JSON.stringify(what))
    }
    double.mishap({ command: 'commitTransaction', times: 1, what: 91, labels: ['UnknownTransactionCommitResult', 'RetryableWriteError'] })
    await transact(store, upsert('sum', '0'))
    double.mishap({ command: 'update', times: 1, what: 251, labels: ['TransientTransactionError'] })
    await transact(store, upsert('sum', '0'), { kind: 'delete', key: 'other', metadata: {} })
    assert.equal(await textOf(store, 'other'), undefined)

    // Whoever finds the ETag stale reads again: no increment may be lost, whatever happens to the servers meanwhile.
    const increment = async () => {
      for (;;) {
        const found = await store.get({ key: 'sum', metadata: {} })
        const next = String(Number(found?.data) + 1)
        try {
          return await transact(store, upsert('sum', next, found?.etag as string), upsert('mirror', next))
        } catch (error) {
          if (!(error instanceof EtagError)) throw error
        }
      }
    }
    let done = 0
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let times = 0; times < 10; times++) {
          await increment()
          if (++done % 12 === 0) double.elect((done / 12) % 3)
        }
      }),
    )
    assert.equal(await textOf(store, 'sum'), '40')
    assert.equal(await textOf(store, 'mirror'), '40')
  })

  withSet('reads from secondaries where the connection string says so, and writes to the primary all the same', async (double) => {
    await using store = await open(double, { connectionString: `${double.address}&readPreference=secondary` })
    await store.set(upsert('key', '1'))
    assert.equal(await textOf(store, 'key'), '1')
  })

  withSet('refuses a set of another name, and says what it is called', async (double) => {
    const connectionString = double.address.replace('replicaSet=rs0', 'replicaSet=rs1')
    await assert.rejects(open(double, { connectionString }), /is of the replica set rs0, and replicaSet says rs1: correct replicaSet/)
  })

  withSet(
    'works through mongos, past one that is gone',
    async (double) => {
      await using store = await open(double)
      await store.set(upsert('key', '1'))
      await double.kill(0)
      for (let times = 0; times < 6; times++) {
        double.mishap({ command: 'update', times: 1, what: 'lost' })
        await store.set(upsert('key', '2', await etagOf(store, 'key')))
      }
      assert.equal(await textOf(store, 'key'), '2')
    },
    { mongos: true, members: 2 },
  )

  withSet('asks nothing while nobody asks it', async (double) => {
    await using store = await open(double, { connectionString: `${double.address}&heartbeatFrequencyMS=500` })
    await store.set(upsert('key', '1'))
    const { length } = double.commands
    await pause(1500)
    assert.equal(double.commands.length, length)
    await store.get({ key: 'key', metadata: {} })
    assert.ok(double.commands.slice(length).includes('isMaster'), 'what it knew had grown old')
  })
})
