import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { bindingConformance } from '../../blocks/bindings/conformance.ts'
import type { Binding } from '../../blocks/bindings/driver.ts'
import { pubsubConformance } from '../../blocks/pubsub/conformance.ts'
import type { PubSub } from '../../blocks/pubsub/driver.ts'
import { secretStoreConformance } from '../../blocks/secrets/conformance.ts'
import type { SecretStore } from '../../blocks/secrets/driver.ts'
import { stateConformance } from '../../blocks/state/conformance/suite.ts'
import type { StateStore } from '../../blocks/state/driver.ts'
import { createLogger } from '../../telemetry/log.ts'
import { bindingDrivers } from '../bindings/registry.ts'
import type { Component, DriverModule } from '../component.ts'
import { pubsubDrivers } from '../pubsub/registry.ts'
import { secretStoreDrivers } from '../secretstores/registry.ts'
import { stateDrivers } from '../state/registry.ts'
import { pluggableDriver } from './registry.ts'
import { serveComponent } from './testing/server.ts'

const log = createLogger({ level: 'fatal', json: false, appId: 'test', version: 'test' })
const folder = mkdtempSync(join(tmpdir(), 'outrider-pluggable-'))
const secretsFile = join(folder, 'secrets.json')
writeFileSync(secretsFile, JSON.stringify({ conftestsecret: 'abcd', secondsecret: 'efgh' }))

async function load<T extends Component>(rows: readonly { type: string; load(): Promise<DriverModule<T>> }[], type: string) {
  const row = rows.find((candidate) => candidate.type === type)
  if (!row) throw new Error(`no driver ${type}`)
  return row.load()
}

const socket = join(folder, 'peer.sock')
const server = await serveComponent({
  socket,
  state: await load<StateStore>(stateDrivers, 'state.in-memory'),
  pubsub: await load<PubSub>(pubsubDrivers, 'pubsub.in-memory'),
  input: await load<Binding>(bindingDrivers, 'bindings.cron'),
  output: await load<Binding>(bindingDrivers, 'bindings.localstorage'),
  secrets: await load<SecretStore>(secretStoreDrivers, 'secretstores.local.file'),
})
after(async () => {
  await server[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

let instances = 0
async function open<T extends Component>(block: string, properties: Record<string, string> = {}): Promise<T> {
  const driver = await pluggableDriver(block, socket, log)
  if (!driver) throw new Error(`the server is no ${block} component`)
  const name = `instance${++instances}`
  const component = driver.create({ name, type: `${block}.peer`, version: 'v1', properties, appId: 'test', namespace: '', log })
  await component.init(AbortSignal.timeout(10_000))
  return component as T
}

stateConformance('pluggable over state.in-memory', async () => ({ store: await open<StateStore>('state') }), {
  badEtag: 'bad-etag',
  features: ['ETAG', 'TRANSACTIONAL', 'TTL'],
  tellsExpiry: true,
  strictFirstWrite: true,
  transactionEtagError: true,
  refusesNull: true,
  oneErrorForLists: true,
})
pubsubConformance('pluggable over pubsub.in-memory', {
  open: ({ properties }) => open<PubSub>('pubsub', properties),
  durable: false,
  groups: false,
  contentType: true,
})
bindingConformance('pluggable over bindings.cron', { operations: [], read: true }, () =>
  open<Binding>('bindings', { schedule: '@every 50ms', direction: 'input' }),
)
bindingConformance(
  'pluggable over bindings.localstorage',
  { operations: ['create', 'get', 'list', 'delete'], read: false, createMetadata: { fileName: 'a.json' } },
  () => open<Binding>('bindings', { rootPath: folder, direction: 'output' }),
)
secretStoreConformance('pluggable over secretstores.local.file', () => open<SecretStore>('secretstores', { secretsFile }))
