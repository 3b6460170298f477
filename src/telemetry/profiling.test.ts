import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { createProfilingServer } from './profiling.ts'

test('profiles come in the formats that DevTools open, one at a time', async (t) => {
  const server = createProfilingServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/debug/pprof`
  const [cpu, second] = await Promise.all([fetch(`${base}/profile?seconds=0.3`), fetch(`${base}/profile?seconds=0.3`)])
  const [taken, refused] = cpu.status === 200 ? [cpu, second] : [second, cpu]
  assert.equal(refused.status, 409)
  assert.ok(((await taken.json()) as { nodes: unknown[] }).nodes.length > 0)
  const allocations = (await (await fetch(`${base}/allocs?seconds=0.1`)).json()) as { head: unknown }
  assert.ok(allocations.head)
  const heap = await fetch(`${base}/heap`)
  assert.match(heap.headers.get('content-disposition') ?? '', /heapsnapshot/)
  assert.ok(((await heap.json()) as { snapshot: unknown }).snapshot)
  const held = (await (await fetch(`${base}/resources`)).json()) as { active: Record<string, number>; memory: { heapUsed: number } }
  assert.ok((held.active.TCPServerWrap ?? 0) >= 1, 'the server itself listens')
  assert.ok(held.memory.heapUsed > 0)
  assert.equal((await fetch(`${base}/profile?seconds=x`)).status, 400)
  assert.equal((await fetch(`${base}/goroutine`)).status, 404)
})
