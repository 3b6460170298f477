import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lockId } from './block.ts'

const store = (keyprefix?: string) => ({
  name: 'Store',
  type: 'lock.redis',
  version: 'v1',
  component: {},
  properties: (keyprefix === undefined ? {} : { keyprefix }) as Record<string, string>,
})

test('the stored id follows keyPrefix', () => {
  assert.equal(lockId(store(), 'app', 'r'), 'lock||app||r')
  assert.equal(lockId(store('appid'), 'app', 'r'), 'lock||app||r')
  assert.equal(lockId(store('name'), 'app', 'r'), 'lock||Store||r')
  assert.equal(lockId(store('none'), 'app', 'r'), 'lock||r')
  assert.equal(lockId(store('Own'), 'app', 'r'), 'lock||own||r')
  assert.throws(() => lockId(store(), 'app', 'a||b'), { message: "input key/keyPrefix 'a||b' can't contain '||'" })
})
