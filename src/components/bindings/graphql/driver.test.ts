import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, it } from 'node:test'
import { buildSchema } from 'graphql'
import { createHandler } from 'graphql-http/lib/use/http'
import { bindingConformance } from '../../../blocks/bindings/conformance.ts'
import { createLogger } from '../../../telemetry/log.ts'
import { driver } from './driver.ts'

// The server that GraphQL's own foundation wrote for its protocol over HTTP.
const users = new Map([['1', 'Ada']])
const seen: Record<string, unknown>[] = []
const handler = createHandler({
  schema: buildSchema(`
    type User { id: ID!, name: String! }
    type Query { user(id: ID!): User, broken: String }
    type Mutation { rename(id: ID!, name: String!): User }
  `),
  context: (request) => {
    seen.push(request.raw.headers)
    return { key: String(request.raw.headers['x-key'] ?? '') }
  },
  rootValue: {
    user: ({ id }: { id: string }) => (users.has(id) ? { id, name: users.get(id) } : null),
    broken: () => {
      throw new Error('out of order')
    },
    rename: ({ id, name }: { id: string; name: string }) => {
      users.set(id, name)
      return { id, name }
    },
  },
})
const server = createServer((request, response) => {
  if (request.url === '/graphql') return handler(request, response)
  response.writeHead(request.url === '/html' ? 200 : 503).end('<html>')
}).listen(0, '127.0.0.1')
await once(server, 'listening')
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
after(() => {
  server.close()
  server.closeAllConnections()
})

const log = createLogger({ level: 'fatal', json: false, appId: 'app', version: 'test' })
async function open(properties: Record<string, string> = {}) {
  const all = { endpoint: `${base}/graphql`, ...properties }
  const binding = driver.create({ name: 'b', type: 'bindings.graphql', version: 'v1', properties: all, appId: 'app', namespace: '', log })
  await binding.init(AbortSignal.timeout(5000))
  const call = async (operation: string, metadata: Record<string, string>) => {
    const response = await binding.invoke?.({ operation, data: Buffer.alloc(0), metadata })
    return { data: JSON.parse(String(response?.data)), metadata: response?.metadata ?? {} }
  }
  return { binding, call, [Symbol.asyncDispose]: () => binding[Symbol.asyncDispose]() }
}

bindingConformance('bindings.graphql', { operations: ['query', 'mutation'], read: false }, async () => (await open()).binding)

it('answers queries and mutations with data, variables and headers given, and says how long it took', async () => {
  await using graphql = await open({ 'header:X-Key': 'of the component', 'header:Content-Length': '1' })
  const queried = await graphql.call('query', { query: ' query { user(id: "1") { name } }' })
  assert.deepEqual(queried.data, { user: { name: 'Ada' } })
  assert.equal(queried.metadata.operation, 'query')
  assert.match(queried.metadata['start-time'] ?? '', /^\d{4}-\d\d-\d\dT.*Z$/)
  assert.match(queried.metadata.duration ?? '', /^\d.*s$/)
  assert.equal(seen.at(-1)?.['x-key'], 'of the component')
  const mutation = 'mutation Rename($id: ID!, $name: String!) { rename(id: $id, name: $name) { id name } }'
  const renamed = await graphql.call('mutation', {
    mutation,
    'variable:id': '2',
    'variable:name': 'Grace "ü"',
    'header:X-Key': 'of the request',
  })
  assert.deepEqual(renamed.data, { rename: { id: '2', name: 'Grace "ü"' } })
  assert.equal(seen.at(-1)?.['x-key'], 'of the request')
})

it("passes on the server's errors, and says what is wrong before it asks", async () => {
  await using graphql = await open()
  for (const [operation, metadata, words] of [
    ['query', { query: 'query { broken }' }, 'GraphQL Error: graphql: out of order'],
    ['query', { query: 'query { nosuch }' }, 'GraphQL Error: graphql: Cannot query field "nosuch" on type "Query".'],
    ['query', {}, 'GraphQL Error: required "query" not set'],
    ['mutation', { query: 'query { broken }' }, 'GraphQL Error: required "mutation" not set'],
    ['query', { query: 'mutation { rename }' }, 'GraphQL Error: command is not a query'],
    ['query', { query: '{ broken }' }, 'GraphQL Error: command is not a query'],
    ['create', { query: 'query { broken }' }, 'GraphQL Error: invalid operation type: create. Expected query or mutation'],
  ] as const)
    await assert.rejects(graphql.call(operation, metadata), { message: words })
})

it('says what is no GraphQL server, or no server', async () => {
  const query = { query: 'query { broken }' }
  await using html = await open({ endpoint: `${base}/html` })
  await assert.rejects(html.call('query', query), { message: 'GraphQL Error: decoding response: it is not JSON' })
  await using down = await open({ endpoint: `${base}/down` })
  await assert.rejects(down.call('query', query), { message: 'GraphQL Error: graphql: server returned a non-200 status code: 503' })
  await using away = await open({ endpoint: 'http://127.0.0.1:1/graphql' })
  await assert.rejects(away.call('query', query), /GraphQL Error: no answer of 127\.0\.0\.1:1: .*ECONNREFUSED/)
  await assert.rejects(open({ endpoint: 'graphql' }), /endpoint: "graphql" is not an http or https URL/)
  await assert.rejects(open({ endpoint: '' }), /missing required metadata field endpoint/)
})
