import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Buckets } from '../../../policy/token-buckets.ts'
import { clientOf } from './driver.ts'

test('a bucket lets through as many as it holds, and fills with time', () => {
  const buckets = new Buckets(2, 2)
  assert.deepEqual(
    [0, 0, 0, 400, 500, 500, 10_000, 10_000, 10_000].map((now) => buckets.take('a', now)),
    [true, true, false, false, true, false, true, true, false],
  )
  assert.equal(buckets.take('b', 10_000), true)
})

test('keys are bounded: the one unused longest begins anew', () => {
  const buckets = new Buckets(1, 1)
  assert.deepEqual([buckets.take('first', 0), buckets.take('first', 0)], [true, false])
  for (let i = 0; i < 10_000; i++) buckets.take(String(i), 0)
  assert.equal(buckets.take('first', 0), true)
})

test('a client is its address, or the one a proxy tells; of IPv6 the network', () => {
  const client = (remoteAddress: string | undefined, headers: Record<string, string> = {}) =>
    clientOf({ remoteAddress, header: (name) => headers[name] })
  assert.deepEqual(
    [
      client('10.0.0.1'),
      client('::ffff:10.0.0.1'),
      client('10.0.0.1', { 'x-real-ip': '3.3.3.3' }),
      client('10.0.0.1', { 'x-forwarded-for': '1.1.1.1 , 2.2.2.2 ', 'x-real-ip': '3.3.3.3' }),
      client(undefined),
      client('2001:db8::1'),
      client('2001:0db8:0:0:ffff::2'),
      client('::1'),
    ],
    ['10.0.0.1', '10.0.0.1', '3.3.3.3', '2.2.2.2', '0.0.0.0', '2001:db8:0:0', '2001:db8:0:0', '0:0:0:0'],
  )
})
