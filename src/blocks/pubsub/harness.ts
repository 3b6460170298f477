/** What the tests of this block share: an app on a real port, and a broker whose every outcome a test can wait for. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createHttpChannel, type HttpChannel } from '../../app/http-channel.ts'
import type { Named } from '../../components/sets.ts'
import { createLogger } from '../../telemetry/log.ts'
import { createPubSubBlock, type PubSubBlock, type PubSubOptions } from './block.ts'
import type { DeliveredMessage, MessageHandler, PublishRequest, PubSub, PubSubFeature, SubscribeOptions } from './driver.ts'

export interface Seen {
  method: string
  url: string
  headers: IncomingHttpHeaders
  body: string
}

export interface Answer {
  status?: number
  body?: string
}

export interface TestApp extends AsyncDisposable {
  readonly port: number
  readonly seen: Seen[]
  readonly channel: HttpChannel
}

/** An app that answers `GET /dapr/subscribe` with a list (or 404) and everything else with what `answer` says. */
export async function startApp(subscriptions: unknown, answer: (seen: Seen) => Answer | Promise<Answer> = () => ({})): Promise<TestApp> {
  const seen: Seen[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const call = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks).toString() }
    if (call.url === '/dapr/subscribe') {
      response.statusCode = subscriptions === undefined ? 404 : 200
      return response.end(subscriptions === undefined ? '' : JSON.stringify(subscriptions))
    }
    seen.push(call)
    const { status = 200, body = '' } = await answer(call)
    response.statusCode = status
    response.end(body)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const channel = createHttpChannel({ port })
  return {
    port,
    seen,
    channel,
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]()
      server.closeAllConnections()
      server.close()
    },
  }
}

/** A broker that keeps what is published and delivers what a test hands it. */
export class TestBroker implements PubSub {
  readonly features: readonly PubSubFeature[]
  readonly published: PublishRequest[] = []
  readonly subscribed: { topic: string; metadata: Readonly<Record<string, string>>; batch: number | undefined }[] = []
  readonly handlers = new Map<string, MessageHandler>()
  /** Set to refuse publishing. */
  refusal: ((request: PublishRequest) => Error | undefined) | undefined
  readonly #end = new AbortController()

  constructor(features: readonly PubSubFeature[] = []) {
    this.features = features
  }

  async init(): Promise<void> {}

  async publish(request: PublishRequest): Promise<void> {
    const refusal = this.refusal?.(request)
    if (refusal) throw refusal
    this.published.push(request)
  }

  async subscribe(
    topic: string,
    metadata: Readonly<Record<string, string>>,
    handler: MessageHandler,
    options: SubscribeOptions = {},
  ): Promise<AsyncDisposable> {
    this.subscribed.push({ topic, metadata, batch: options.batch })
    this.handlers.set(topic, handler)
    return {
      [Symbol.asyncDispose]: async () => {
        this.handlers.delete(topic)
      },
    }
  }

  /** Settles as the handler does: resolved means acknowledged. */
  deliver(topic: string, data: unknown, message: Partial<DeliveredMessage> = {}, signal = this.#end.signal): Promise<void> {
    const handler = this.handlers.get(topic)
    if (!handler) return Promise.reject(new Error(`nobody subscribed to ${topic}`))
    return handler({ topic, data: Buffer.isBuffer(data) ? data : Buffer.from(JSON.stringify(data)), metadata: {}, ...message }, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort()
  }
}

export function named(component: PubSub, properties: Record<string, string> = {}, name = 'ps'): Named<PubSub> {
  return { name, type: 'pubsub.test', version: 'v1', component, properties }
}

/** A block for app `myapp` over one component `ps`, and the lines it logs. */
export function testBlock(
  broker: PubSub,
  options: Partial<PubSubOptions> = {},
  properties: Record<string, string> = {},
): PubSubBlock & { lines: string[] } {
  const lines: string[] = []
  const log = createLogger({ level: 'debug', json: false, appId: 'myapp', version: 'test', write: (line) => lines.push(line) })
  return Object.assign(
    createPubSubBlock({ components: new Map([['ps', named(broker, properties)]]), appId: 'myapp', namespace: 'default', log, ...options }),
    { lines },
  )
}

export const event = (members: Record<string, unknown> = {}) => ({
  specversion: '1.0',
  id: 'e-1',
  type: 'com.dapr.event.sent',
  source: 's',
  topic: 'orders',
  pubsubname: 'ps',
  traceid: '',
  data: { x: 4 },
  datacontenttype: 'application/json',
  ...members,
})
