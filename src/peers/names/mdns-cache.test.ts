import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MdnsCache } from './mdns-cache.ts'

const at = (port: number) => ({ host: '10.0.0.1', port })

test('addresses count for a minute after their last word', () => {
  const cache = new MdnsCache()
  cache.seen('a', at(1), 0)
  assert.equal(cache.find('a', 0), undefined, 'nobody has asked for it')
  cache.want('a', 0)
  cache.seen('a', at(1), 0)
  cache.seen('a', at(2), 30_000)
  assert.deepEqual(cache.find('a', 60_000), [at(1), at(2)])
  assert.deepEqual(cache.find('a', 64_000), [at(2)])
  assert.equal(cache.find('a', 94_000), undefined)
})

test('a missing app is asked for again after a moment, or when it speaks up', () => {
  const cache = new MdnsCache()
  cache.want('a', 0)
  cache.missing('a', 0)
  assert.deepEqual(cache.find('a', 2999), [])
  assert.equal(cache.find('a', 3000), undefined)
  cache.missing('a', 3000)
  cache.seen('a', at(1), 3001)
  assert.deepEqual(cache.find('a', 3002), [at(1)])
})

test('in doubt the only address is forgotten; several serve until they had time to speak up', () => {
  const cache = new MdnsCache()
  cache.want('a', 0)
  cache.seen('a', at(1), 0)
  assert.equal(cache.doubt('a', 0), false)
  assert.equal(cache.find('a', 0), undefined)
  for (const port of [1, 2, 3]) cache.seen('a', at(port), 0)
  assert.equal(cache.doubt('a', 5000), true)
  assert.equal(cache.doubt('a', 5001), false, 'asked a moment ago')
  cache.seen('a', at(2), 5002)
  assert.equal(cache.find('a', 5003)?.length, 3)
  assert.deepEqual(cache.find('a', 8000), [at(2)])
})

test('apps in use are kept fresh, others are dropped; both kinds of list are bounded', () => {
  const cache = new MdnsCache()
  cache.want('used', 0)
  cache.seen('used', at(1), 0)
  cache.want('missing', 0)
  cache.missing('missing', 0)
  assert.deepEqual(cache.sweep(30_000), ['used'])
  assert.equal(cache.has('missing'), false)
  cache.seen('used', at(1), 290_000)
  assert.deepEqual(cache.sweep(301_000), [])
  assert.equal(cache.size, 0)
  for (let i = 0; i < 1500; i++) cache.want(`app-${i}`, i)
  assert.equal(cache.size, 1000)
  assert.ok(cache.has('app-1499') && !cache.has('app-0'))
  for (let port = 1; port < 1000; port++) cache.seen('app-1499', at(port), 0)
  assert.equal(cache.find('app-1499', 1)?.length, 256)
})
