import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { Balancer } from './resolver-balancer.ts'

const addresses = [1, 2, 3].map((port) => ({ host: '10.0.0.1', port }))

test('of two at random the one with fewer calls under way is taken', () => {
  using balancer = new Balancer()
  const counts = new Map<string, number>()
  const turns = Array.from({ length: 300 }, () => balancer.take(addresses))
  for (const { address } of turns) counts.set(address, (counts.get(address) ?? 0) + 1)
  const shares = [...counts.values()]
  // At random alone they would differ by some 15; with two choices by a few.
  assert.ok(Math.max(...shares) - Math.min(...shares) <= 8, String(shares))
  // A slow one gets little: its calls stay under way.
  for (const turn of turns) if (turn.address !== '10.0.0.1:1') turn.end(false)
  let slow = 0
  for (let i = 0; i < 100; i++) {
    const turn = balancer.take(addresses)
    if (turn.address === '10.0.0.1:1') slow++
    turn.end(false)
  }
  assert.equal(slow, 0)
})

test('an address that was lost is left out until a connection stands; when all are lost all are used', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  let probes = 0
  const two = [
    { host: '127.0.0.1', port },
    { host: '10.0.0.1', port: 1 },
  ]
  const reached = Promise.withResolvers<void>()
  using balancer = new Balancer({
    firstProbe: 1,
    async probe() {
      if (++probes < 3) return false
      reached.resolve()
      return true
    },
  })
  while (balancer.lost === 0) {
    const turn = balancer.take(two)
    turn.end(turn.address === `127.0.0.1:${port}`)
  }
  for (let i = 0; i < 50; i++) {
    const turn = balancer.take(two)
    assert.equal(turn.address, '10.0.0.1:1')
    turn.end(false)
  }
  await reached.promise
  await new Promise(setImmediate)
  assert.equal(balancer.lost, 0)
  assert.equal(probes, 3)
  const seen = new Set(Array.from({ length: 50 }, () => balancer.take(two).address))
  assert.equal(seen.size, 2)
  for (let i = 0; balancer.lost < 2; i++) balancer.take(two, i % 2 ? '10.0.0.1:1' : `127.0.0.1:${port}`).end(true)
  assert.equal(new Set(Array.from({ length: 50 }, () => balancer.take(two).address)).size, 2)
})

test('a lost sidecar that is back is found by TCP', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  const connected = once(server, 'connection')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  using balancer = new Balancer({ firstProbe: 1 })
  const two = [{ host: '127.0.0.1', port }, ...addresses]
  while (balancer.lost === 0) {
    const turn = balancer.take(two)
    turn.end(turn.address === `127.0.0.1:${port}`)
  }
  await connected
  while (balancer.lost > 0) await new Promise(setImmediate)
  server.close()
})

test('what is to be avoided is used only when there is nothing else; one address needs no counting', () => {
  using balancer = new Balancer()
  for (let i = 0; i < 30; i++) assert.notEqual(balancer.take(addresses, '10.0.0.1:2').address, '10.0.0.1:2')
  const one = balancer.take(addresses.slice(0, 1), '10.0.0.1:1')
  assert.equal(one.address, '10.0.0.1:1')
  one.end(true)
  assert.equal(balancer.lost, 0)
})
