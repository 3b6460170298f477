import { CommunicationProtocolEnum, DaprPubSubStatusEnum, DaprServer, HttpMethod } from '@dapr/dapr'
import { Inbox, serve } from './program.mjs'

// Client and server of the official SDK in one app, over the protocol that APP_PROTOCOL says.
const { APP_ID, PEER_ID, APP_PORT, APP_PROTOCOL, DAPR_HTTP_PORT, DAPR_GRPC_PORT } = process.env
const communicationProtocol = APP_PROTOCOL === 'grpc' ? CommunicationProtocolEnum.GRPC : CommunicationProtocolEnum.HTTP
const daprPort = APP_PROTOCOL === 'grpc' ? DAPR_GRPC_PORT : DAPR_HTTP_PORT
const inbox = new Inbox()
const server = new DaprServer({
  serverHost: '127.0.0.1',
  serverPort: APP_PORT,
  communicationProtocol,
  clientOptions: { daprHost: '127.0.0.1', daprPort, communicationProtocol },
})
const { client } = server
const { state, pubsub, lock } = client
const order = (a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)

await server.pubsub.subscribe('pubsub', 'plain', (data) => inbox.note('plain', data))
await server.pubsub.subscribe('pubsub', 'raw', (data) => inbox.note('raw', data), undefined, { rawPayload: true })
const routes = { default: '/other', rules: [{ match: 'event.type == "important"', path: '/important' }] }
await server.pubsub.subscribeWithOptions('pubsub', 'routed', { route: routes })
for (const route of ['other', 'important'])
  server.pubsub.subscribeToRoute('pubsub', 'routed', route, (data) => inbox.note('routed', [route, data]))
await server.pubsub.subscribeWithOptions('pubsub', 'poison', {
  deadLetterTopic: 'dead',
  callback: () => DaprPubSubStatusEnum.DROP,
})
await server.pubsub.subscribe('pubsub', 'dead', (data) => inbox.note('dead', data))
await server.pubsub.subscribe('pubsub', 'retried', (data) => {
  inbox.note('retried', data)
  return inbox.all('retried').length < 3 ? DaprPubSubStatusEnum.RETRY : DaprPubSubStatusEnum.SUCCESS
})
await server.pubsub.subscribe('pubsub', 'many', (data) => inbox.note('many', data))
await server.pubsub.subscribeBulk('pubsub', 'bulk', (data) => inbox.note('bulk', data), { maxMessagesCount: 10, maxAwaitDurationMs: 100 })
await server.binding.receive('tick', async () => inbox.note('tick', true))
await server.invoker.listen('hello', async () => ({ app: APP_ID, method: 'GET' }))
await server.invoker.listen('hello', async ({ body }) => ({ app: APP_ID, method: 'POST', heard: JSON.parse(body) }), {
  method: HttpMethod.POST,
})
// A topic that only a Subscription resource names reaches the app as any other POST; the SDK's gRPC server takes none of these.
if (APP_PROTOCOL === 'http')
  server.daprServer.getServer().post('/declared', (request, response) => {
    inbox.note('declared', request.body.data)
    response.json({ status: 'SUCCESS' })
  })
await server.start()

const text = (data) => Buffer.from(data).toString()
/** Says what the call failed with; HTTP methods of the SDK give some errors back instead of throwing them. */
const failure = async (work) => {
  const answer = await work().catch((error) => ({ error }))
  return String(answer?.error?.error ?? answer?.error)
}
const LOCK = ['success', 'does not exist', 'belongs to others', 'internal error']
const hello = async (app) => [
  await client.invoker.invoke(app, 'hello', HttpMethod.GET),
  await client.invoker.invoke(app, 'hello', HttpMethod.POST, { name: 'ann' }),
]
const get = async (key) => (await state.get('statestore', key)) || null

serve({
  'wait for the sidecar': async () => {
    await client.start()
    return client.health.isHealthy()
  },

  'state: save and get': async () => {
    await state.save('statestore', [{ key: 'object', value: { a: [1, 'ö'] } }])
    await state.save('statestore', [{ key: 'text', value: 'plain' }])
    return [await get('object'), await get('text'), await get('missing')]
  },
  'state: bulk save': async () => {
    await state.save('statestore', [
      { key: 'bulk1', value: 'one' },
      { key: 'bulk2', value: 'two' },
    ])
    return [await get('bulk1'), await get('bulk2')]
  },
  'state: bulk get': async () => {
    const items = await state.getBulk('statestore', ['object', 'missing'])
    return items.map(({ key, data }) => [key, data || null]).sort()
  },
  'state: delete': async () => {
    await state.delete('statestore', 'text')
    return [await get('text')]
  },
  'state: transaction': async () => {
    await state.transaction('statestore', [
      { operation: 'upsert', request: { key: 'first', value: 'one' } },
      { operation: 'upsert', request: { key: 'second', value: 'two' } },
      { operation: 'delete', request: { key: 'object' } },
    ])
    return [await get('first'), await get('second'), await get('object')]
  },
  'state: a stale etag is refused': async () => {
    await state.save('statestore', [{ key: 'tagged', value: 'one' }])
    const [{ etag }] = await state.getBulk('statestore', ['tagged'])
    await state.save('statestore', [{ key: 'tagged', value: 'two', etag }])
    const said = await failure(() => state.save('statestore', [{ key: 'tagged', value: 'three', etag }]))
    return [/\[aborted\]|"status":409/.test(said) ? 'refused' : said, await get('tagged')]
  },
  'state: query': async () => {
    const metadata = { contentType: 'application/json' }
    await state.save('querystore', [
      { key: 'ann', value: { city: 'Rome', age: 3 }, metadata },
      { key: 'bob', value: { city: 'Oslo', age: 2 }, metadata },
      { key: 'cem', value: { city: 'Rome', age: 1 }, metadata },
    ])
    const found = await state.query('querystore', {
      filter: { EQ: { city: 'Rome' } },
      sort: [{ key: 'age', order: 'ASC' }],
      page: { limit: 10 },
    })
    return found.results.map(({ key }) => key)
  },

  'pub/sub: an object and a text': async () => {
    await pubsub.publish('pubsub', 'plain', { id: 1 })
    await inbox.until('plain', 1)
    await pubsub.publish('pubsub', 'plain', 'hello')
    return inbox.until('plain', 2)
  },
  'pub/sub: declared by a resource': async () => {
    await pubsub.publish('pubsub', 'declared', { id: 2 })
    return inbox.until('declared', 1)
  },
  'pub/sub: raw': async () => {
    await pubsub.publish('pubsub', 'raw', { id: 3 }, { metadata: { rawPayload: 'true' } })
    return inbox.until('raw', 1)
  },
  'pub/sub: routes': async () => {
    const event = (id, type) => ({ specversion: '1.0', id, source: 'test', type, datacontenttype: 'application/json', data: { id } })
    const cloud = { contentType: 'application/cloudevents+json' }
    await pubsub.publish('pubsub', 'routed', event('a', 'important'), cloud)
    await pubsub.publish('pubsub', 'routed', event('b', 'usual'), cloud)
    return (await inbox.until('routed', 2)).sort()
  },
  'pub/sub: dead letter': async () => {
    await pubsub.publish('pubsub', 'poison', { id: 4 })
    return inbox.until('dead', 1)
  },
  'pub/sub: retried until it succeeds': async () => {
    await pubsub.publish('pubsub', 'retried', 'again')
    return inbox.until('retried', 3)
  },
  'pub/sub: bulk publish': async () => {
    const { failedMessages } = await pubsub.publishBulk('pubsub', 'many', ['one', { event: 'two', contentType: 'text/plain' }, { id: 3 }])
    return failedMessages.length === 0 ? (await inbox.until('many', 3)).sort(order) : failedMessages
  },
  'pub/sub: bulk subscribe': async () => {
    await pubsub.publishBulk('pubsub', 'bulk', ['one', { event: 'two', contentType: 'text/plain' }, { id: 3 }])
    return (await inbox.until('bulk', 3)).sort(order)
  },
  'pub/sub: an unknown component is an error': async () => {
    const said = await failure(() => pubsub.publish('nosuch', 'topic', 'x'))
    return said.match(/pubsub nosuch is not found/)?.[0] ?? said
  },

  'invocation: GET and POST': () => hello(APP_ID),
  'invocation: through two sidecars': () => hello(PEER_ID),
  'invocation: an unknown app is an error': async () => {
    const said = await failure(() => client.invoker.invoke('nosuch', 'hello', HttpMethod.GET))
    return said.match(/to invoke, id: nosuch/)?.[0] ?? said
  },

  'secrets: one and all': async () => [await client.secret.get('secretstore', 'password'), await client.secret.getBulk('secretstore')],

  'configuration: get': async () => {
    const { items } = await client.configuration.get('configstore', ['size'])
    return { size: items.size.value }
  },
  'configuration: subscribe': async () => {
    const seen = Promise.withResolvers()
    const note = async ({ items }) => seen.resolve({ color: items.color.value })
    const stream = await client.configuration.subscribeWithKeys('configstore', ['color'], note)
    const color = await seen.promise
    await stream.stop()
    return color
  },

  'lock: one owner at a time': async () => [
    (await lock.lock('lockstore', 'printer', 'ann', 60)).success,
    (await lock.lock('lockstore', 'printer', 'bob', 60)).success,
    LOCK[(await lock.unlock('lockstore', 'printer', 'bob')).status],
    LOCK[(await lock.unlock('lockstore', 'printer', 'ann')).status],
    LOCK[(await lock.unlock('lockstore', 'printer', 'ann')).status],
  ],
  'crypto: encrypt and decrypt': async () => {
    const plain = 'secret '.repeat(50_000)
    const sealed = await client.crypto.encrypt(plain, { componentName: 'vault', keyName: 'rsa.pem', keyWrapAlgorithm: 'RSA' })
    const opened = await client.crypto.decrypt(sealed, { componentName: 'vault' })
    return [text(sealed).startsWith('dapr.io/enc/v1') && 'sealed', text(opened) === plain && 'opened']
  },
  'bindings: out': async () => {
    await client.binding.send('files', 'create', 'to be kept', { fileName: 'note.txt' })
    const got = await client.binding.send('files', 'get', undefined, { fileName: 'note.txt' })
    return APP_PROTOCOL === 'grpc' ? text(got.data) : got
  },
  'bindings: in': async () => (await inbox.until('tick', 1)).length > 0,
  'metadata: get and set': async () => {
    await client.metadata.set('flavour', 'sweet')
    const { extended, components } = await client.metadata.get()
    return { flavour: extended.flavour, statestore: components.find(({ name }) => name === 'statestore')?.type }
  },
  shutdown: () => client.sidecar.shutdown(),
})
