import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'eventhubs')
const complete = join(folder, 'node_modules', 'complete')

/** Brings Azure's SDK for Event Hubs and the AMQP library of the stand-in from npm, once. */
export async function installEventHubs(): Promise<void> {
  if (existsSync(complete)) return
  const flags = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev']
  await promisify(execFile)('npm', flags, { cwd: folder, maxBuffer: 16 << 20 })
  writeFileSync(complete, '')
}

/** Our stand-in for Event Hubs; the address is `amqp://host:port?control=port`. */
export const eventHubs: ServerKind = {
  name: 'the stand-in for Event Hubs',
  variable: 'OUTRIDER_TEST_AZURE_EVENTHUBS',
  form: 'amqp://host:port?control=port',
  wants: 'rhea and Azure’s SDK of npm: node test/servers/install.ts',
  available: () => existsSync(complete),
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-eventhubs-'))
    const [port, control] = [await freePort(), await freePort()]
    const flags = ['--port', String(port), '--control', String(control)]
    const child = spawn(process.execPath, [join(folder, 'server.mjs'), ...flags], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
    await announced(child, /^ready$/m, 'eventhubs', directory)
    return { address: `amqp://127.0.0.1:${port}?control=${control}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}

/** `port`: another than the server's own, e.g. of a proxy before it. */
export function connectionStringTo(address: string, { port, hub, key }: { port?: number; hub?: string; key?: string } = {}): string {
  const { hostname, port: own } = new URL(address)
  const entity = hub === undefined ? '' : `;EntityPath=${hub}`
  const secret = key ?? 'canary-shared-access-key'
  return `Endpoint=sb://${hostname}:${port ?? own};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=${secret};UseDevelopmentEmulator=true${entity}`
}

/** Makes a hub with more than one partition. */
export async function makeHub(address: string, name: string, partitions: number): Promise<void> {
  await control(address, 'PUT', `${name}?partitions=${partitions}`)
}

/** Cuts off every client. */
export async function cutOff(address: string): Promise<void> {
  await control(address, 'DELETE', 'connections')
}

async function control(address: string, method: string, path: string): Promise<void> {
  const { hostname, searchParams } = new URL(address)
  const { ok } = await fetch(`http://${hostname}:${searchParams.get('control')}/${path}`, { method })
  if (!ok) throw new Error(`${method} ${path} failed`)
}

/** Azure's SDK for JavaScript, as far as tests use it: its types are not there where it is not installed. */
export interface SdkEvent {
  contentType?: string
  messageId?: unknown
  body: unknown
  properties?: Record<string, unknown>
  partitionKey?: string
  sequenceNumber: number
  offset: string
}

interface Identity {
  fullyQualifiedNamespace: string
  eventHubName: string
  consumerGroup: string
  partitionId: string
}

interface SdkCheckpointStore {
  listOwnership(namespace: string, hub: string, group: string): Promise<SdkOwnership[]>
  claimOwnership(ownerships: SdkOwnership[]): Promise<SdkOwnership[]>
  listCheckpoints(namespace: string, hub: string, group: string): Promise<SdkCheckpoint[]>
  updateCheckpoint(checkpoint: SdkCheckpoint): Promise<void>
}

interface SdkOwnership extends Identity {
  ownerId: string
  etag?: string
  lastModifiedTimeInMs?: number
}

interface SdkCheckpoint extends Identity {
  sequenceNumber: number
  offset: string
}

interface SdkBatch {
  tryAdd(event: { body: unknown; properties?: Record<string, unknown> }): boolean
}

interface SdkProducer {
  createBatch(options?: { partitionKey?: string; partitionId?: string }): Promise<SdkBatch>
  sendBatch(batch: SdkBatch): Promise<void>
  close(): Promise<void>
}

interface SdkConsumer {
  subscribe(
    handlers: { processEvents(events: SdkEvent[]): Promise<void>; processError(error: Error): Promise<void> },
    options: { startPosition: { offset: string } },
  ): { close(): Promise<void> }
  close(): Promise<void>
}

interface Sdk {
  EventHubProducerClient: new (connectionString: string, hub: string) => SdkProducer
  EventHubConsumerClient: new (group: string, connectionString: string, hub: string) => SdkConsumer
}

const own = createRequire(join(folder, 'package.json'))
const module = <T>(name: string): Promise<T> => import(own.resolve(name)) as Promise<T>

export function sdk(): Promise<Sdk> {
  return module('@azure/event-hubs')
}

/** Azure's own checkpoint store on a container. */
export async function checkpointStoreOf(connectionString: string, container: string): Promise<SdkCheckpointStore> {
  const { BlobCheckpointStore } = await module<{ BlobCheckpointStore: new (client: unknown) => SdkCheckpointStore }>(
    '@azure/eventhubs-checkpointstore-blob',
  )
  const { ContainerClient } = await module<{ ContainerClient: new (connectionString: string, name: string) => unknown }>(
    '@azure/storage-blob',
  )
  return new BlobCheckpointStore(new ContainerClient(connectionString, container))
}
