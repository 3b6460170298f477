import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import { connect as connectAmqp } from 'amqplib'
import { Redis } from 'ioredis'
import { pubsubDrivers } from '../src/components/pubsub/registry.ts'
import { createLogger } from '../src/telemetry/log.ts'

/**
 * The client library alone in a process of its own, publishing and consuming with the guarantees that the sidecars give: a publish
 * ends when the server has confirmed it, a message is acknowledged after its handler. No sidecar, no HTTP and no app: about what
 * the server itself can do. Kafka's client is our own, so it is its driver that stands here.
 * `fork(…, [driver, address, topic])`; by IPC `{ callers, milliseconds }`, answered with a {@link BareResult}.
 */
export interface BareResult {
  published: number
  delivered: number
  publishMilliseconds: number
  /** From the first publish to the last message handled. */
  milliseconds: number
  p50: number
  p99: number
}

interface Client {
  publish(message: Buffer): Promise<unknown>
}

const [driver = '', address = '', topic = 'bare'] = process.argv.slice(2)
/** As long as the CloudEvent of the sidecars. */
const message = Buffer.from(JSON.stringify({ sent: '0'.padStart(16, '0'), filler: 'x'.repeat(330) }))
const STAMP = 9
let times: number[] = []
let delivered = 0

function handle(content: Buffer): void {
  delivered++
  times.push(performance.now() - Number(content.toString('latin1', STAMP, STAMP + 16)) / 1e3)
}

const CLIENTS: Record<string, () => Promise<Client>> = {
  async 'pubsub.rabbitmq'() {
    const connect = () => connectAmqp(`amqp://guest:guest@${address}`)
    const publishing = await (await connect()).createConfirmChannel()
    const consuming = await (await connect()).createChannel()
    await consuming.assertExchange(topic, 'fanout', { durable: true })
    await consuming.assertQueue(topic, { durable: true, arguments: { 'x-queue-type': 'classic' } })
    await consuming.bindQueue(topic, topic, '')
    await consuming.prefetch(200)
    await consuming.consume(topic, (given) => {
      if (given === null) return
      handle(given.content)
      consuming.ack(given)
    })
    return {
      publish: (content) =>
        new Promise((resolve, reject) => {
          publishing.publish(topic, '', content, { persistent: true }, (error) => (error ? reject(error) : resolve(undefined)))
        }),
    }
  },
  async 'pubsub.jetstream'() {
    const connection = await connectNats({ servers: address })
    const manager = await jetstreamManager(connection)
    await manager.streams.add({ name: topic, subjects: [topic] })
    const inbox = `${topic}.inbox`
    await manager.consumers.add(topic, { durable_name: topic, deliver_subject: inbox, deliver_group: topic, ack_policy: 'explicit' })
    connection.subscribe(inbox, {
      queue: topic,
      callback: (_error, given) => {
        handle(Buffer.from(given.data))
        given.respond('+ACK')
      },
    })
    const stream = jetstream(connection)
    return { publish: (content) => stream.publish(topic, content) }
  },
  async 'pubsub.redis'() {
    const connect = () => new Redis(Number(address.split(':')[1]), '127.0.0.1', { enableAutoPipelining: true })
    const [publishing, acknowledging, consuming] = [connect(), connect(), connect()]
    await publishing.xgroup('CREATE', topic, 'bare', '$', 'MKSTREAM')
    const read = async () => {
      for (;;) {
        const streams = (await consuming.xreadgroupBuffer('GROUP', 'bare', 'one', 'COUNT', 100, 'BLOCK', 2000, 'STREAMS', topic, '>')) as
          | [Buffer, [Buffer, Buffer[]][]][]
          | null
        for (const [, messages] of streams ?? [])
          for (const [id, fields] of messages) {
            handle(fields[1] as Buffer)
            void acknowledging.xack(topic, 'bare', id)
          }
      }
    }
    void read()
    return { publish: (content) => publishing.xadd(topic, '*', 'data', content) }
  },
  'pubsub.kafka': () => component({ brokers: address, authType: 'none', initialOffset: 'oldest' }),
  'pubsub.pulsar': () => component({ host: address, subscribeInitialPosition: 'earliest' }),
}

/** A client of our own is measured as the component that it is part of. */
async function component(properties: Record<string, string>): Promise<Client> {
  const log = createLogger({ level: 'error', json: false, appId: topic, version: 'bench' })
  const row = pubsubDrivers.find(({ type }) => type === driver)
  const opened = (await row?.load())?.create({
    name: 'target',
    type: driver,
    version: 'v1',
    properties,
    appId: topic,
    namespace: '',
    log,
  })
  if (opened === undefined) throw new Error(`no driver ${driver}`)
  await opened.init(AbortSignal.timeout(10_000))
  await opened.subscribe(topic, {}, async ({ data }) => handle(data))
  return { publish: async (content) => opened.publish({ topic, data: content, metadata: {} }) }
}

const open = CLIENTS[driver]
if (open === undefined) throw new Error(`no client of ${driver} here`)
const client = await open()
process.send?.('ready')

process.on('message', ({ callers, milliseconds }: { callers: number; milliseconds: number }) => {
  measure(callers, milliseconds).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit(0))

async function measure(callers: number, milliseconds: number): Promise<BareResult> {
  times = []
  delivered = 0
  let published = 0
  const began = performance.now()
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (performance.now() - began < milliseconds) {
        const content = Buffer.from(message)
        content.write(String(Math.floor(performance.now() * 1e3)).padStart(16, '0'), STAMP, 'latin1')
        await client.publish(content)
        published++
      }
    }),
  )
  const publishMilliseconds = performance.now() - began
  while (delivered < published) await new Promise((resolve) => setTimeout(resolve, 1))
  const ended = performance.now()
  const sorted = times.sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN
  return { published, delivered, publishMilliseconds, milliseconds: ended - began, p50: at(0.5), p99: at(0.99) }
}
