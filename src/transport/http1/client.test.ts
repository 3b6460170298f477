import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { HttpClient } from './client.ts'

async function serve(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

const LIMITS = { limit: 1000, tooLarge: () => new Error('too large') }

test('redirections are followed as far as allowed: POST becomes GET where it should, secrets stay at their server', async () => {
  const asked: string[] = []
  const note: RequestListener = (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization ?? '-'} ${request.headers['content-length'] ?? '-'}`)
    const found = /^\/(\d+)\/(.*)/.exec(request.url ?? '')
    if (found) response.writeHead(Number(found[1]), { location: found[2] ?? '' })
    request.resume().on('end', () => response.end('end'))
  }
  await using there = await serve(note)
  await using here = await serve(note)
  await using client = new HttpClient({ connections: 2, redirections: 2 })
  const ask = async (path: string) => {
    asked.length = 0
    const url = new URL(here.url + path)
    return client.request({
      url,
      method: 'POST',
      headers: { authorization: 'secret', 'content-type': 'text/plain' },
      body: 'xyz',
      ...LIMITS,
    })
  }
  assert.equal((await ask('/307//there')).body.toString(), 'end')
  assert.deepEqual(asked, ['POST /307//there secret 3', 'POST /there secret 3'])
  await ask(`/303/${there.url}/x`)
  assert.deepEqual(asked, [`POST /303/${there.url}/x secret 3`, 'GET /x - -'])
  assert.equal((await ask('/307/307/307/307/x')).status, 307)
  assert.equal(asked.length, 3)
  assert.equal((await ask('/304/x')).status, 304)
})

test('a reply past its limit, a signal and a closed client each end a request with a reason', async () => {
  const arrived = Promise.withResolvers<void>()
  await using server = await serve((request, response) => {
    if (request.url === '/big') return response.end(Buffer.alloc(2000))
    arrived.resolve()
  })
  const client = new HttpClient({ connections: 1 })
  const ask = (path: string, signal?: AbortSignal) => client.request({ url: new URL(server.url + path), method: 'GET', signal, ...LIMITS })
  await assert.rejects(ask('/big'), /too large/)
  const stop = new AbortController()
  const hanging = ask('/', stop.signal)
  await arrived.promise
  stop.abort(new Error('enough'))
  await assert.rejects(hanging, /enough/)
  await assert.rejects(ask('/', stop.signal), /enough/)
  await assert.rejects(client.request({ url: new URL('ftp://x/'), method: 'GET', ...LIMITS }), /use http or https/)
  await client[Symbol.asyncDispose]()
  await assert.rejects(ask('/'), { code: 'ECANCELED' })
})
