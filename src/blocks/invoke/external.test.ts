import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import type { Address } from '../../peers/resolver.ts'
import { Resiliency } from '../../policy/resiliency.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createInvokeBlock } from './block.ts'
import { createExternalServices } from './external.ts'

interface Reply {
  status: number
  text: string
  error?: Error
}

/** A service outside that says what it was asked, and a block that knows it as `shop`. */
async function outside(policies?: Resiliency) {
  const asked: { url: string; headers: IncomingHttpHeaders }[] = []
  let elsewhere: string | undefined
  const server = createServer((request, response) => {
    asked.push({ url: request.url as string, headers: request.headers })
    const moved = /\/moved-(\d+)/.exec(request.url as string)
    if (moved) return void response.writeHead(Number(moved[1]), { location: elsewhere ?? (request.url as string) }).end('moved')
    response.writeHead(request.url?.includes('teapot') ? 418 : 200).end('hello')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const external = createExternalServices()
  external.add({ name: 'shop', baseUrl: `${url}/base/`, headers: { 'X-Key': 'endpoint', 'X-More': 'm' } })
  const block = createInvokeBlock({
    appId: 'us',
    namespace: 'default',
    external,
    policies,
    peers: { invoke: () => assert.fail('no sidecar is asked'), forget() {}, [Symbol.asyncDispose]: async () => {} },
    resolver: { resolve: (): Address[] => [], invalidate() {} },
  })
  const call = (target: string, method: string) =>
    new Promise<Reply>((resolve) => {
      const reply: Reply = { status: 0, text: '' }
      block.invoke(
        target,
        {
          verb: 'GET',
          method,
          query: 'q=1',
          headers: ['x-key', 'caller', 'x-own', 'v', 'authorization', 'secret'],
          contentType: undefined,
          length: undefined,
          body: undefined,
        },
        {
          head: (status) => {
            reply.status = status
          },
          data: (chunk) => {
            reply.text += chunk
          },
          end: () => resolve(reply),
          failed: (error) => resolve({ ...reply, error }),
        },
      )
    })
  return {
    url,
    asked,
    call,
    moveTo(url: string | undefined) {
      elsewhere = url
    },
    async [Symbol.asyncDispose]() {
      await external[Symbol.asyncDispose]()
      server.close()
    },
  }
}

test('an HTTPEndpoint is called by name, below its URL and with its headers instead of the caller’s', async () => {
  await using shop = await outside()
  assert.deepEqual(await shop.call('shop', 'a/b c'), { status: 200, text: 'hello' })
  const { url, headers } = shop.asked[0] as (typeof shop.asked)[0]
  assert.equal(url, '/base/a/b%20c?q=1')
  assert.deepEqual([headers['x-key'], headers['x-more'], headers['x-own']], ['endpoint', 'm', 'v'])
  assert.equal((await shop.call('shop', 'teapot')).status, 418)
})

test('a URL is called as it is, and what is none is an error in words', async () => {
  await using shop = await outside()
  assert.equal((await shop.call(`${shop.url}/deep`, 'x')).status, 200)
  assert.equal(shop.asked[0]?.url, '/deep/x?q=1')
  assert.match(String((await shop.call('http://', 'x')).error?.message), /^failed to invoke, id: http:\/\/, err: Invalid URL/)
  const refused = await shop.call('http://127.0.0.1:1', 'x')
  assert.match(String(refused.error?.message), /ECONNREFUSED/)
})

test('an HTTPEndpoint’s redirections are followed, ten at most, its secrets left behind; a URL’s are not', async () => {
  await using shop = await outside()
  await using other = await outside()
  shop.moveTo('there?a=b')
  assert.deepEqual(await shop.call('shop', 'x/moved-302'), { status: 200, text: 'hello' })
  assert.equal(shop.asked[1]?.url, '/base/x/there?a=b')
  assert.deepEqual(
    [shop.asked[1]?.headers.authorization, shop.asked[1]?.headers['x-key'], shop.asked[1]?.headers.referer],
    ['secret', 'endpoint', `${shop.url}/base/x/moved-302?q=1`],
  )
  shop.moveTo(`${other.url}/far`)
  assert.deepEqual(await shop.call('shop', 'moved-303'), { status: 200, text: 'hello' })
  assert.deepEqual(
    [other.asked[0]?.url, other.asked[0]?.headers.authorization, other.asked[0]?.headers['x-key']],
    ['/far', undefined, undefined],
  )
  assert.equal((await shop.call('shop', 'moved-307')).status, 307)
  assert.equal((await shop.call(shop.url, 'moved-302')).status, 302)
  shop.moveTo(undefined)
  shop.asked.length = 0
  assert.match(String((await shop.call('shop', 'moved-301')).error?.message), /stopped after 10 redirects/)
  assert.equal(shop.asked.length, 11)
})

test('policies count for services outside: a breaker for all of an HTTPEndpoint, and one for each URL', async () => {
  const log = createLogger({ level: 'error', json: false, appId: 'us', version: 'test', write: () => {} })
  const spec = {
    policies: {
      retries: { DefaultAppRetryPolicy: { duration: '1ms', maxRetries: 1 } },
      circuitBreakers: { DefaultAppCircuitBreakerPolicy: { trip: 'consecutiveFailures > 1', timeout: '1h' } },
    },
  }
  const policies = await Resiliency.load({
    log,
    resources: [{ name: 'r', namespace: '', scopes: [], spec, source: { file: '', line: 1 } }],
  })
  await using shop = await outside(policies)
  assert.deepEqual(await shop.call('shop', 'teapot'), { status: 418, text: 'hello' })
  assert.deepEqual(
    shop.asked.map(({ url, headers }) => [url, headers['x-key']]),
    [
      ['/base/teapot?q=1', 'endpoint'],
      ['/base/teapot?q=1', 'endpoint'],
    ],
  )
  assert.equal((await shop.call('shop', 'other')).error?.message, 'failed to invoke, id: shop, err: circuit breaker is open')
  assert.equal((await shop.call(shop.url, 'teapot')).status, 418)
  assert.match(String((await shop.call(shop.url, 'teapot')).error?.message), /circuit breaker is open/)
  assert.equal((await shop.call(shop.url, 'fine')).status, 200)
  assert.equal(shop.asked.length, 5)
})
