import assert from 'node:assert/strict'
import { request } from 'node:http'
import { after, test } from 'node:test'
import { BodyBudget, budgetFor } from '../../transport/body-budget.ts'
import type { Route } from './route.ts'
import { HttpApi } from './server.ts'

const MIB = 2 ** 20

test('a memory limit leaves less for bodies than the machine does', () => {
  assert.equal(budgetFor(128 * MIB, 2 ** 34), 8 * MIB)
  assert.equal(budgetFor(64 * MIB, 2 ** 34), 4 * MIB)
  assert.equal(budgetFor(2 ** 34, 2 ** 35), 256 * MIB)
  assert.equal(budgetFor(undefined, 2 ** 30), 128 * MIB)
})

let release = () => {}
const held = new Promise<void>((resolve) => {
  release = resolve
})
let reading: (() => void) | undefined
const echo: Route = {
  methods: ['POST'],
  path: '/echo',
  group: 'test',
  version: 'v1',
  name: 'Echo',
  async handler(call) {
    const body = await call.body()
    reading?.()
    await held
    return { status: 200, body: String(body.length) }
  },
}
const bodies = new BodyBudget(100_000)
const api = new HttpApi({ routes: [echo], maxBodySize: 0, bodies, readBufferSize: 4096, h2c: false })
const port = await api.listen({ host: '127.0.0.1', port: 0 })
after(() => api.close(1000))

interface Answer {
  status: number | undefined
  headers: NodeJS.Dict<string | string[]>
  text: string
}

function post(bytes: number, chunked = false): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = chunked ? {} : { 'content-length': bytes }
    const call = request({ host: '127.0.0.1', port, path: '/echo', method: 'POST', headers, agent: false }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode, headers: response.headers, text })
    })
    call.on('error', reject)
    if (chunked) call.write(Buffer.alloc(1))
    call.end(Buffer.alloc(chunked ? bytes - 1 : bytes))
  })
}

test('bodies past the bound are refused while others are held, and taken again afterwards', async () => {
  const begun = new Promise<void>((resolve) => {
    reading = resolve
  })
  const first = post(90_000)
  await begun
  assert.equal(bodies.held, 90_000)
  for (const chunked of [false, true]) {
    const refused = await post(20_000, chunked)
    assert.equal(refused.status, 429)
    assert.equal(refused.headers['retry-after'], '1')
    assert.equal(JSON.parse(refused.text).errorCode, 'ERR_MEMORY_LIMIT')
    assert.match(decodeURIComponent(String(refused.headers['outrider-hint'])), /try again in a second/)
  }
  release()
  assert.equal((await first).text, '90000')
  assert.equal((await post(20_000)).text, '20000')
  assert.equal((await post(20_000, true)).text, '20000')
  assert.equal(bodies.refused, 2)
})

test('a body larger than the bound is taken when it comes alone', async () => {
  assert.equal((await post(1_000_000)).text, '1000000')
  assert.equal(bodies.held, 0)
})
