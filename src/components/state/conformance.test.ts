import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { etcd } from '../../../test/servers/etcd.ts'
import { mariadb } from '../../../test/servers/mariadb.ts'
import { postgresServer } from '../../../test/servers/postgres.ts'
import { redisServer } from '../../../test/servers/redis.ts'
import { serverOf } from '../../../test/servers/server.ts'
import { type Subject, stateConformance } from '../../blocks/state/conformance.ts'
import { createLogger } from '../../telemetry/log.ts'
import { stateDrivers } from './registry.ts'

const log = createLogger({ level: 'error', json: false, appId: 'test', version: 'test' })

async function open(type: string, version: string, properties: Record<string, string>, stop?: () => Promise<void>): Promise<Subject> {
  const row = stateDrivers.find((candidate) => candidate.type === type && candidate.versions.includes(version))
  if (!row) throw new Error(`${type}/${version} is not registered`)
  const driver = await row.load()
  const store = driver.create({ name: 'store', type, version, properties, appId: 'test', namespace: '', log })
  await store.init(AbortSignal.timeout(20_000))
  return { store, ...(stop ? { stop } : {}) }
}

stateConformance('state.in-memory', () => open('state.in-memory', 'v1', {}), {
  badEtag: 'bad-etag',
  features: ['ETAG', 'TRANSACTIONAL', 'TTL', 'DELETE_WITH_PREFIX', 'KEYS_LIKE'],
  tellsExpiry: true,
  strictFirstWrite: true,
  transactionEtagError: true,
})

const sql = { tellsExpiry: true, strictFirstWrite: true, transactionEtagError: true } as const

stateConformance(
  'state.sqlite, file',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-state-'))
    return open('state.sqlite', 'v1', { connectionString: join(directory, 'new', 'state.db') }, async () =>
      rmSync(directory, { recursive: true, force: true }),
    )
  },
  { ...sql, badEtag: 'bad-etag', features: ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE'] },
)

stateConformance('state.sqlite, memory', () => open('state.sqlite3', 'v1', { connectionString: ':memory:', tableName: 'other' }), {
  ...sql,
  badEtag: 'bad-etag',
  features: ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE'],
})

stateConformance(
  'state.redis',
  async () => {
    const server = await redisServer()
    return server && open('state.redis', 'v1', { redisHost: `${server.host}:${server.port}` }, server.stop)
  },
  {
    badEtag: '9999999',
    invalidEtag: { text: 'word', kind: 'invalid' },
    features: ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE'],
    tellsExpiry: false,
    keepsTtl: true,
    strictFirstWrite: false,
    transactionEtagError: false,
  },
)

for (const version of ['v1', 'v2'] as const) {
  stateConformance(
    `state.postgresql ${version}`,
    async () => {
      const server = await postgresServer()
      return server && open('state.postgresql', version, { connectionString: server.url }, server.stop)
    },
    {
      ...sql,
      badEtag: version === 'v1' ? '1' : randomUUID(),
      invalidEtag: { text: 'word', kind: version === 'v1' ? 'invalid' : 'mismatch' },
      features:
        version === 'v1' ? ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE', 'QUERY_API'] : ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE'],
    },
  )
}

stateConformance(
  'state.mysql',
  async () => {
    const server = await serverOf(mariadb)
    if (!server) return undefined
    const url = new URL(server.address)
    return open(
      'state.mysql',
      'v1',
      { connectionString: `${url.username}:${url.password}@tcp(${url.host})/`, schemaName: `t${process.pid}` },
      server.stop,
    )
  },
  { ...sql, badEtag: 'bad-etag', features: ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE'] },
)

for (const version of ['v1', 'v2'] as const) {
  stateConformance(
    `state.etcd ${version}`,
    async () => {
      const server = await serverOf(etcd)
      return server && open('state.etcd', version, { endpoints: server.address, keyPrefixPath: `t${process.pid}` }, server.stop)
    },
    {
      ...sql,
      tellsExpiry: version === 'v2',
      badEtag: '9999999',
      invalidEtag: { text: 'word', kind: 'mismatch' },
      features: ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE'],
    },
  )
}
