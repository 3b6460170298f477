import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLockBlock } from '../../blocks/lock/block.ts'
import type { LockStore } from '../../blocks/lock/driver.ts'
import { Code } from '../../errors.ts'
import { serveGrpc, statusOf, stub } from './harness.ts'
import { lockMethods } from './lock.ts'
import { rawMessage, readRaw } from './raw-proto.ts'

function serve(component: Partial<LockStore>, empty = false) {
  const store = { name: 'lck', type: 't', version: 'v1', component: stub<LockStore>(component), properties: {} }
  const stores = new Map(empty ? [] : [['lck', store]])
  return serveGrpc({ methods: lockMethods(createLockBlock({ stores, appId: 'app' })) })
}

test('TryLockAlpha1 hands over every field and answers whether the lock is held', async () => {
  const asked: unknown[] = []
  await using api = await serve({
    tryLock: async (resource, owner, expiry) => {
      asked.push([resource, owner, expiry])
      return owner === 'me'
    },
  })
  assert.deepEqual(readRaw(await api.call('TryLockAlpha1', rawMessage({ 1: 'lck', 2: 'r', 3: 'me', 4: 60 })), { 1: 'n' }), { 1: 1 })
  assert.equal((await api.call('TryLockAlpha1', rawMessage({ 1: 'lck', 2: 'r', 3: 'you', 4: 1 }))).length, 0)
  assert.deepEqual(asked, [
    ['lock||app||r', 'me', 60],
    ['lock||app||r', 'you', 1],
  ])
})

test('UnlockAlpha1 answers each status by its number', async () => {
  for (const status of [0, 1, 2, 3] as const) {
    await using api = await serve({ unlock: async () => status })
    const reply = await api.call('UnlockAlpha1', rawMessage({ 1: 'lck', 2: 'r', 3: 'me' }))
    assert.deepEqual(readRaw(reply, { 1: 'n' }), status === 0 ? {} : { 1: status })
  }
})

test('requests are refused in Dapr’s order, without details', async () => {
  const failing = () => Promise.reject(new Error('gone'))
  await using api = await serve({ tryLock: failing, unlock: failing })
  const cases: [method: string, request: Parameters<typeof rawMessage>[0], code: Code, message: string][] = [
    ['TryLockAlpha1', { 1: 'no' }, Code.InvalidArgument, 'ExpiryInSeconds is not positive in lock store no'],
    ['TryLockAlpha1', { 1: 'no', 4: -1 }, Code.InvalidArgument, 'ExpiryInSeconds is not positive in lock store no'],
    ['TryLockAlpha1', { 1: 'no', 4: 1 }, Code.InvalidArgument, 'ResourceId is empty in lock store no'],
    ['UnlockAlpha1', { 1: 'no', 2: 'r' }, Code.InvalidArgument, 'LockOwner is empty in lock store no'],
    ['UnlockAlpha1', { 1: 'no', 2: 'r', 3: 'o' }, Code.InvalidArgument, 'lock store no not found'],
    ['TryLockAlpha1', { 1: 'lck', 2: 'r', 3: 'o', 4: 1 }, Code.Internal, 'failed to try acquiring lock: gone'],
    ['UnlockAlpha1', { 1: 'lck', 2: 'r', 3: 'o' }, Code.Internal, 'failed to release lock: gone'],
    [
      'UnlockAlpha1',
      { 1: 'lck', 2: 'a||b', 3: 'o' },
      Code.Internal,
      "failed to release lock: input key/keyPrefix 'a||b' can't contain '||'",
    ],
  ]
  for (const [method, request, code, message] of cases) {
    const status = await statusOf(api.call(method, rawMessage(request)))
    assert.deepEqual([status.code, status.message, status.details], [code, message, []])
  }
  await using none = await serve({}, true)
  const status = await statusOf(none.call('UnlockAlpha1', rawMessage({ 1: 'lck', 2: 'r', 3: 'o' })))
  assert.deepEqual([status.code, status.message], [Code.FailedPrecondition, 'lock store is not configured'])
})
