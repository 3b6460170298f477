import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { SQS } from '../src/components/aws/services.ts'
import { accountOf, clientOf, makeTable } from '../src/components/aws/testing.ts'
import { ACCOUNT, KEY } from '../src/components/azure/testing.ts'
import { cosmosOf, makeContainer } from '../src/components/azure/testing-cosmos.ts'
import { bindingDrivers } from '../src/components/bindings/registry.ts'
import { configurationDrivers } from '../src/components/configuration/registry.ts'
import { lockDrivers } from '../src/components/lock/registry.ts'
import { pubsubDrivers } from '../src/components/pubsub/registry.ts'
import { makeStream } from '../src/components/pubsub/testing/stream.ts'
import { secretStoreDrivers } from '../src/components/secretstores/registry.ts'
import { stateDrivers } from '../src/components/state/registry.ts'
import { azurite, azuriteTables } from './servers/azurite.ts'
import { cosmosdb } from './servers/cosmosdb.ts'
import { etcd } from './servers/etcd.ts'
import { connectionStringTo, eventHubs } from './servers/eventhubs.ts'
import { kafka, startKafka } from './servers/kafka.ts'
import { mariadb } from './servers/mariadb.ts'
import { memcached } from './servers/memcached.ts'
import { mongodb } from './servers/mongodb.ts'
import { mosquitto } from './servers/mosquitto.ts'
import { moto } from './servers/moto.ts'
import { mysql } from './servers/mysql.ts'
import { nats } from './servers/nats.ts'
import { postgres } from './servers/postgres.ts'
import { freePort } from './servers/process.ts'
import { type Proxy as CutProxy, startProxy } from './servers/proxy.ts'
import { pulsar } from './servers/pulsar.ts'
import { rabbitmq } from './servers/rabbitmq.ts'
import { redis } from './servers/redis.ts'
import { type ServerKind, serverOf } from './servers/server.ts'
import { serviceBus, serviceBusProperties } from './servers/servicebus.ts'
import { startSidecar } from './sidecar.ts'

// Every driver that has a server, under one sidecar: whether health and metadata tell of a server that goes and comes back.
const root = mkdtempSync(join(tmpdir(), 'outrider-health-'))
after(() => rmSync(root, { recursive: true, force: true }))
const own = `health${process.pid}`

/** The same server at the proxy's address. */
function through(address: string, port: number): string {
  if (!address.includes('://')) return `127.0.0.1:${port}`
  const url = new URL(address)
  url.host = `127.0.0.1:${port}`
  return url.href.replace(/\/$/, '')
}

/** The login and place of `mysql://user:password@host:port`, as Go's driver has them. */
function goDsn(address: string): string {
  const { username, password, host } = new URL(address)
  return `${username}:${password}@tcp(${host})/`
}

interface Row {
  server: ServerKind
  /** Components by type, `type-on-server` for one that another row has, too; `address` leads through the proxy. */
  components(address: string): Record<string, Record<string, string>>
  /** What they need there. */
  prepare?(address: string): Promise<void>
}

const ROWS: readonly Row[] = [
  {
    server: redis,
    components: (redisHost) => ({
      'state.redis': { redisHost },
      'pubsub.redis': { redisHost },
      'configuration.redis': { redisHost },
      'lock.redis': { redisHost },
      'bindings.redis': { redisHost },
    }),
  },
  {
    server: postgres,
    components: (connectionString) => ({
      'state.postgresql': { connectionString, tablePrefix: `${own}_` },
      'bindings.postgresql': { url: connectionString },
      'configuration.postgresql': { connectionString, table: own },
    }),
    async prepare(address) {
      const client = new pg.Client({ connectionString: address })
      await client.connect()
      await client.query(`CREATE TABLE ${own} (KEY VARCHAR NOT NULL, VALUE VARCHAR NOT NULL, VERSION VARCHAR NOT NULL, METADATA JSON)`)
      await client.end()
    },
  },
  {
    server: mariadb,
    components(address) {
      const dsn = goDsn(address)
      return { 'state.mysql': { connectionString: dsn, schemaName: own }, 'bindings.mysql': { url: `${dsn}mysql` } }
    },
  },
  {
    server: mysql,
    components(address) {
      const dsn = goDsn(address)
      return { 'state.mysql-on-mysql': { connectionString: dsn, schemaName: own }, 'bindings.mysql-on-mysql': { url: `${dsn}mysql` } }
    },
  },
  { server: etcd, components: (endpoints) => ({ 'state.etcd': { endpoints } }) },
  { server: mongodb, components: (connectionString) => ({ 'state.mongodb': { connectionString } }) },
  { server: memcached, components: (hosts) => ({ 'state.memcached': { hosts } }) },
  {
    server: rabbitmq,
    components: (address) => ({ 'pubsub.rabbitmq': { connectionString: address }, 'bindings.rabbitmq': { host: address, queueName: own } }),
  },
  { server: nats, components: (natsURL) => ({ 'pubsub.jetstream': { natsURL } }), prepare: (address) => makeStream(address, own, [own]) },
  {
    server: mosquitto,
    components: (url) => ({ 'pubsub.mqtt3': { url, consumerID: own }, 'bindings.mqtt3': { url, topic: own, consumerID: `${own}b` } }),
  },
  {
    server: {
      ...kafka,
      variable: '',
      // It sends its clients on to the address that it is told: its proxy's.
      async start() {
        const [port, seen] = [await freePort(), await freePort()]
        const listeners = `PLAINTEXT://127.0.0.1:${port},CONTROLLER://{controller}`
        const server = await startKafka({ settings: { listeners, 'advertised.listeners': `PLAINTEXT://127.0.0.1:${seen}` } })
        return { address: `127.0.0.1:${port}:${seen}`, stop: () => server.stop() }
      },
    },
    components: (brokers) => ({
      'pubsub.kafka': { brokers, authType: 'none' },
      'bindings.kafka': { brokers, authType: 'none', topics: own, publishTopic: own, consumerGroup: own },
    }),
  },
  { server: pulsar, components: (host) => ({ 'pubsub.pulsar': { host } }) },
  {
    server: moto,
    components(address) {
      const account = accountOf(address)
      return {
        'state.aws.dynamodb': { ...account, table: own },
        'pubsub.aws.snssqs': { ...account, consumerID: own },
        'bindings.aws.sqs': { ...account, queueName: own },
        'secretstores.aws.secretmanager': account,
        'secretstores.aws.parameterstore': account,
      }
    },
    async prepare(address) {
      await makeTable(address, own)
      await using client = clientOf(address, SQS)
      await client.json('CreateQueue', { QueueName: own })
    },
  },
  {
    server: eventHubs,
    components(address) {
      const connectionString = connectionStringTo(address)
      return { 'pubsub.azure.eventhubs': { connectionString }, 'bindings.azure.eventhubs': { connectionString, eventHub: own } }
    },
  },
  {
    server: azurite,
    components(address) {
      const account = { accountName: ACCOUNT, accountKey: KEY, endpoint: address, containerName: own }
      return { 'state.azure.blobstorage': account, 'bindings.azure.blobstorage': account }
    },
  },
  {
    server: azuriteTables,
    components: (address) => ({
      'state.azure.tablestorage': { accountName: ACCOUNT, accountKey: KEY, serviceURL: `${address}/${ACCOUNT}`, tableName: own },
    }),
  },
  {
    server: cosmosdb,
    components(address) {
      const account = cosmosOf(address, own)
      return { 'state.azure.cosmosdb': account, 'bindings.azure.cosmosdb': { ...account, partitionKey: 'partitionKey' } }
    },
    prepare: (address) => makeContainer(address, own),
  },
  {
    server: serviceBus,
    components(address) {
      const namespace = { ...serviceBusProperties(address), disableEntityManagement: 'true' }
      return {
        'pubsub.azure.servicebus.topics': namespace,
        'pubsub.azure.servicebus.queues': namespace,
        'bindings.azure.servicebusqueues': { ...namespace, queueName: own },
      }
    },
  },
]

/** What the table leaves out, and why health has nothing to tell there or where else it is seen to. */
const OTHERS: Readonly<Record<string, string>> = {
  'state.in-memory': 'no server',
  'pubsub.in-memory': 'no server',
  'state.sqlite': 'a file: src/runtime/locked-files.test.ts',
  'state.sqlite3': 'a file: src/runtime/locked-files.test.ts',
  'pubsub.sqlite': 'a file: src/runtime/locked-files.test.ts',
  'lock.sqlite': 'a file: src/runtime/locked-files.test.ts',
  'configuration.sqlite': 'a file that is only read',
  'state.postgres': 'another name',
  'bindings.postgres': 'another name',
  'bindings.mqtt': 'another name',
  'pubsub.mqtt': 'another name',
  'pubsub.snssqs': 'another name',
  'pubsub.azure.servicebus': 'another name',
  'pubsub.azure.servicebusqueues': 'another name',
  'bindings.azure.servicebus.queues': 'another name',
  'configuration.postgres': 'another name',
  'secretstores.local.file': 'no server',
  'secretstores.local.env': 'no server',
  'secretstores.hashicorp.vault': 'its server cannot be had here; asked of a stand-in beside the driver',
  'secretstores.azure.keyvault': 'asked of a stand-in beside the driver',
  'secretstores.gcp.secretmanager': 'asked of a stand-in beside the driver',
  'pubsub.gcp.pubsub': 'asked of a stand-in beside the driver',
  'bindings.gcp.bucket': 'asked of a stand-in beside the driver',
  'state.gcp.firestore': 'asked of an emulator beside the driver',
  'bindings.azure.storagequeues': 'asked of a stand-in beside the driver',
  'state.sqlserver': 'its server cannot be had here',
  'state.cassandra': 'its server sends clients on to an address that no proxy has; asked beside the driver',
  'secretstores.kubernetes': 'its server cannot be had here; asked of a stand-in beside the driver',
  'bindings.cron': 'no server',
  'bindings.localstorage': 'no server',
  'bindings.http': 'any address, which a question might change something at',
  'bindings.graphql': 'any address, which a question might change something at',
  'bindings.smtp': 'a connection for each mail, no lasting one',
  'bindings.aws.s3': 'a request for each call, no lasting connection, as AWS charges for them',
  'bindings.aws.sns': 'a request for each call, no lasting connection, as AWS charges for them',
  'bindings.aws.dynamodb': 'a request for each call, no lasting connection, as AWS charges for them',
}

test('the table names every driver', () => {
  const all = [stateDrivers, pubsubDrivers, bindingDrivers, configurationDrivers, lockDrivers, secretStoreDrivers].flat()
  const told = new Set([...Object.keys(OTHERS), ...ROWS.flatMap(({ components }) => Object.keys(components('http://a:b@127.0.0.1:1')))])
  const missing = [...new Set(all.map(({ type }) => type))].filter((type) => !told.has(type))
  assert.deepEqual(missing, [], 'a new driver has a row in ROWS, or its reason in OTHERS')
})

const typeOf = (name: string) => name.replace(/-on-.*/, '')

interface Part {
  kind: string
  name: string
  detail: string
  state: string
  since: string
  error?: string
}

test('every server goes away and comes back: health and metadata tell of each component since when, and why', {
  timeout: 150_000,
}, async (context) => {
  const resources = join(root, 'resources')
  mkdirSync(resources)
  await using things = new AsyncDisposableStack()
  const proxies: CutProxy[] = []
  const names: string[] = []
  await Promise.all(
    ROWS.map(async ({ server: kind, components, prepare }) => {
      const server = await serverOf(kind)
      if (!server) return context.diagnostic(`no ${kind.name} on this machine`)
      things.defer(() => server.stop())
      const [given, seen] = /^(127\.0\.0\.1:\d+):(\d+)$/.exec(server.address)?.slice(1) ?? [server.address]
      const { hostname, port } = new URL((given as string).includes('://') ? (given as string) : `tcp://${given}`)
      await prepare?.(given as string)
      const proxy = things.use(await startProxy(hostname, Number(port), Number(seen ?? 0)))
      proxies.push(proxy)
      for (const [name, properties] of Object.entries(components(through(given as string, proxy.port)))) {
        const metadata = Object.entries(properties).map(([field, value]) => ({ name: field, value }))
        const spec = { type: typeOf(name), version: 'v1', metadata, initTimeout: '30s' }
        const resource = { apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name }, spec }
        writeFileSync(join(resources, `${name}.yaml`), JSON.stringify(resource))
        names.push(name)
      }
    }),
  )
  const sidecar = things.use(await startSidecar({ appId: `health-${process.pid}`, dataDir: root, resources }))
  const parts = async () => {
    const { parts } = (await (await fetch(`${sidecar.http}/v1.0/healthz?verbose`)).json()) as { parts: Part[] }
    return new Map(parts.filter(({ kind }) => kind === 'component').map((part) => [part.name, part]))
  }
  const all = async (state: string) => {
    let found = await parts()
    for (const end = performance.now() + 30_000; names.some((name) => found.get(name)?.state !== state); found = await parts()) {
      const missing = names.filter((name) => found.get(name)?.state !== state)
      assert.ok(performance.now() < end, `not ${state} in time: ${missing}`)
      await pause(100)
    }
    return found
  }
  await all('up')
  const began = Date.now()
  for (const proxy of proxies) proxy.cut()
  const told = await all('retrying')
  context.diagnostic(`${names.length} components told after ${Date.now() - began} ms`)
  const { extended } = (await (await fetch(`${sidecar.http}/v1.0/metadata`)).json()) as { extended: Record<string, string> }
  assert.equal(extended['outrider.state'], 'degraded')
  for (const name of names) {
    const { error = '', since, detail } = told.get(name) as Part
    assert.equal(detail, typeOf(name))
    assert.match(error, /127\.0\.0\.1|its server has not answered within/, `${name} names its server: ${error}`)
    assert.ok(Date.parse(since) >= began - 1000, `${name} is away since ${since}`)
    assert.match(extended[`outrider.component.${name}`] ?? '', /^retrying: .+; next attempt \d{4}-/, name)
  }
  const back = Date.now()
  for (const proxy of proxies) proxy.heal()
  const well = await all('up')
  context.diagnostic(`and well ${Date.now() - back} ms after they were back`)
  for (const name of names) assert.equal(well.get(name)?.error, undefined)
})
