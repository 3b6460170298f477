import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Metadata, MetadataBlock } from '../../blocks/metadata.ts'
import { Code, OutriderError } from '../../errors.ts'
import { serveGrpc, statusOf, stub } from './harness.ts'
import { metadataMethods } from './metadata.ts'
import { rawMessage, readRaw } from './raw-proto.ts'
import { shutdownMethods } from './shutdown.ts'

const named = [{ 1: 's' }] as const
const pair = { 1: 's', 2: 's' } as const
const SHAPE = {
  1: 's',
  3: [{ 1: 's', 2: 's', 3: 's', 4: ['s'] }],
  4: [pair],
  5: [{ 1: 's', 2: 's', 3: [pair], 4: { 1: [pair] }, 5: 's', 6: 'n' }],
  6: named,
  7: { 1: 'n', 2: 's', 3: 's', 4: 'n', 5: { 1: 's', 2: 's', 3: 's', 4: 'n' } },
  8: 's',
  9: ['s'],
  10: { 1: 'n', 3: 'n', 4: 's' },
  12: { 1: 'n' },
  13: named,
  15: named,
} as const

const least: Metadata = {
  id: 'app',
  runtimeVersion: '1',
  enabledFeatures: [],
  components: [],
  extended: {},
  actorRuntime: { runtimeStatus: 'DISABLED', hostReady: false, placement: 'p' },
}

test('GetMetadata says everything the block says', async () => {
  const metadata: Metadata = {
    ...least,
    enabledFeatures: ['HotReload', 'Other'],
    components: [
      { name: 'mem', type: 'state.in-memory', version: 'v1', capabilities: ['ETAG', 'TTL'] },
      { name: 'ps', type: 'pubsub.in-memory', version: 'v1' },
    ],
    extended: { k: 'v' },
    subscriptions: [
      {
        pubsubname: 'ps',
        topic: 't',
        metadata: { rawPayload: 'true' },
        rules: [{ match: 'event.type == "w"', path: '/w' }, { path: '/p' }],
        deadLetterTopic: 'dead',
        type: 'PROGRAMMATIC',
      },
      { pubsubname: 'ps', topic: 'u', type: 'STREAMING' },
    ],
    httpEndpoints: [{ name: 'web' }],
    appConnectionProperties: {
      port: 8080,
      protocol: 'http',
      channelAddress: '127.0.0.1',
      maxConcurrency: 5,
      health: { healthCheckPath: '/h', healthProbeInterval: '5s', healthProbeTimeout: '500ms', healthThreshold: 3 },
    },
    actorRuntime: { runtimeStatus: 'RUNNING', hostReady: true, placement: 'placement: connected' },
    resiliencies: [{ name: 'res' }],
    mcpServers: [{ name: 'mcp' }],
  }
  await using api = await serveGrpc({ methods: metadataMethods(stub<MetadataBlock>({ get: () => metadata })) })
  assert.deepEqual(readRaw(await api.call('GetMetadata', Buffer.alloc(0)), SHAPE), {
    1: 'app',
    3: [
      { 1: 'mem', 2: 'state.in-memory', 3: 'v1', 4: ['ETAG', 'TTL'] },
      { 1: 'ps', 2: 'pubsub.in-memory', 3: 'v1' },
    ],
    4: [{ 1: 'k', 2: 'v' }],
    5: [
      {
        1: 'ps',
        2: 't',
        3: [{ 1: 'rawPayload', 2: 'true' }],
        4: { 1: [{ 1: 'event.type == "w"', 2: '/w' }, { 2: '/p' }] },
        5: 'dead',
        6: 2,
      },
      { 1: 'ps', 2: 'u', 4: {}, 6: 3 },
    ],
    6: [{ 1: 'web' }],
    7: { 1: 8080, 2: 'http', 3: '127.0.0.1', 4: 5, 5: { 1: '/h', 2: '5s', 3: '500ms', 4: 3 } },
    8: '1',
    9: ['HotReload', 'Other'],
    10: { 1: 2, 3: 1, 4: 'placement: connected' },
    12: {},
    13: [{ 1: 'mcp' }],
    15: [{ 1: 'res' }],
  })
})

test('GetMetadata of a sidecar with nothing still has its app connection, actors and workflows', async () => {
  await using api = await serveGrpc({ methods: metadataMethods(stub<MetadataBlock>({ get: () => least })) })
  assert.deepEqual(readRaw(await api.call('GetMetadata', Buffer.alloc(0)), SHAPE), {
    1: 'app',
    7: {},
    8: '1',
    10: { 1: 1, 4: 'p' },
    12: {},
  })
})

test('SetMetadata keeps a pair, takes no empty key, and says when it is full', async () => {
  const kept: unknown[] = []
  const set = (key: string, value: string) => {
    if (key === 'full') throw new OutriderError({ code: 'X', http: 400, grpc: Code.ResourceExhausted, message: 'full' })
    kept.push([key, value])
  }
  await using api = await serveGrpc({ methods: metadataMethods(stub<MetadataBlock>({ set })) })
  assert.equal((await api.call('SetMetadata', rawMessage({ 1: 'k', 2: 'v' }))).length, 0)
  assert.equal((await api.call('SetMetadata', rawMessage({ 2: 'v' }))).length, 0)
  assert.deepEqual(kept, [['k', 'v']])
  assert.equal((await statusOf(api.call('SetMetadata', rawMessage({ 1: 'full' })))).code, Code.ResourceExhausted)
})

test('Shutdown answers first; the drain is skipped only when the metadata says so', async () => {
  const asked: boolean[] = []
  await using api = await serveGrpc({ methods: shutdownMethods((force) => void asked.push(force)) })
  assert.equal((await api.call('Shutdown', Buffer.alloc(0))).length, 0)
  for (const word of ['TRUE', 'false']) await api.call('Shutdown', Buffer.alloc(0), { 'dapr-force-shutdown': word })
  assert.deepEqual(asked, [false, true, false])
})
