import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

const folder = join(import.meta.dirname, 'servicebus')
const complete = join(folder, 'node_modules', 'complete')

/** Brings Azure's SDK for Service Bus and the AMQP library of the stand-in from npm, once. */
export async function installServiceBus(): Promise<void> {
  if (existsSync(complete)) return
  const flags = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev']
  await promisify(execFile)('npm', flags, { cwd: folder, maxBuffer: 16 << 20 })
  writeFileSync(complete, '')
}

/** `tls`: PEM files of the certificate that it shows on both ports. */
export async function startServiceBus(tls?: { cert: string; key: string }): Promise<RunningServer> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-servicebus-'))
  const [port, admin] = [await freePort(), await freePort()]
  const flags = ['--port', String(port), '--admin', String(admin), ...(tls ? ['--cert', tls.cert, '--key', tls.key] : [])]
  const child = spawn(process.execPath, [join(folder, 'server.mjs'), ...flags], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] })
  await announced(child, /^ready$/m, 'servicebus', directory)
  return { address: `amqp://127.0.0.1:${port}?admin=${admin}`, stop: () => end(child, 'SIGTERM', directory) }
}

/** Our stand-in for Service Bus; the address is `amqp://host:port?admin=port`. */
export const serviceBus: ServerKind = {
  name: 'the stand-in for Service Bus',
  variable: 'OUTRIDER_TEST_AZURE_SERVICEBUS',
  form: 'amqp://host:port?admin=port',
  wants: 'rhea and Azure’s SDK of npm: node test/servers/install.ts',
  available: () => existsSync(complete),
  start: () => startServiceBus(),
}

/** Metadata of a component; `port`: another than the server's own, e.g. of a proxy before it. */
export function serviceBusProperties(address: string, { port, key }: { port?: number; key?: string } = {}): Record<string, string> {
  if (address === '') return {}
  const { hostname, port: own, searchParams } = new URL(address)
  const secret = key ?? 'canary-shared-access-key'
  return {
    connectionString: `Endpoint=sb://${hostname}:${port ?? own};SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=${secret};UseDevelopmentEmulator=true`,
    managementEndpoint: `http://${hostname}:${searchParams.get('admin')}`,
  }
}

/** Cuts off every client. */
export async function cutOff(address: string): Promise<void> {
  const { hostname, searchParams } = new URL(address)
  await fetch(`http://${hostname}:${searchParams.get('admin')}/$connections`, { method: 'DELETE' })
}

/** Azure's SDK for JavaScript, as far as tests use it: its types are not there where it is not installed. */
export interface SdkMessage {
  body: unknown
  messageId?: string
  sessionId?: string
  correlationId?: string
  subject?: string
  contentType?: string
  replyTo?: string
  to?: string
  partitionKey?: string
  timeToLive?: number
  scheduledEnqueueTimeUtc?: Date
  applicationProperties?: Record<string, unknown>
  deliveryCount?: number
  lockToken?: string
  deadLetterReason?: string
  deadLetterErrorDescription?: string
}

interface SdkReceiver {
  receiveMessages(most: number, options?: { maxWaitTimeInMs?: number }): Promise<SdkMessage[]>
  completeMessage(message: SdkMessage): Promise<void>
  abandonMessage(message: SdkMessage): Promise<void>
  deadLetterMessage(message: SdkMessage, options: { deadLetterReason: string; deadLetterErrorDescription: string }): Promise<void>
  renewMessageLock(message: SdkMessage): Promise<Date>
  close(): Promise<void>
}

interface SdkClient {
  createSender(entity: string): { sendMessages(messages: SdkMessage | SdkMessage[]): Promise<void>; close(): Promise<void> }
  createReceiver(queue: string, options?: object): SdkReceiver
  createReceiver(topic: string, subscription: string, options?: object): SdkReceiver
  acceptSession(queue: string, session: string): Promise<SdkReceiver & { sessionId: string; renewSessionLock(): Promise<Date> }>
  acceptNextSession(queue: string): Promise<SdkReceiver & { sessionId: string; renewSessionLock(): Promise<Date> }>
  close(): Promise<void>
}

/** A client of Azure's own. */
export async function sdkClient(address: string): Promise<SdkClient> {
  const own = createRequire(join(folder, 'package.json'))
  const sdk = (await import(own.resolve('@azure/service-bus'))) as { ServiceBusClient: new (connectionString: string) => SdkClient }
  return new sdk.ServiceBusClient(serviceBusProperties(address).connectionString as string)
}
