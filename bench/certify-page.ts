import { FULLS } from './certify-full.ts'
import { PEERS } from './certify-peer.ts'
import type { RunResult } from './certify-run.ts'

const ORDER = ['pubsub.redis', 'pubsub.rabbitmq', 'pubsub.jetstream', 'pubsub.mqtt3', 'pubsub.kafka', 'pubsub.pulsar', 'pubsub.sqlite']
const HEAD = `<!-- Written by node bench/certify.ts --page from what was measured; edit that program instead. -->
# What becomes of requests while a server is away

One sidecar (bin/outriderd) for each driver, with one app; 100 publishes or saves a second, at an even rate whatever the answers take. The same sidecar comes through every cut of its driver, one after the other, without a restart; each cut begins after 2 s of work and is followed by 10 s of it. Publishes are counted at the app by number, saves are read back one by one at the end.

| cut | is |
| --- | --- |
| link cut | a proxy between sidecar and server ends all connections and every new one |
| link silent | the proxy keeps connections and takes new ones, and passes nothing on |
| packets lost | iptables drops everything between sidecar and proxy: nobody is told |
| server stopped | SIGSTOP to all of its processes |
| server killed | SIGKILL, and the same program again 10 s later with what it has on disk |
| file locked | another process holds the write lock of the SQLite file |
| server full | the server is there and takes no more, [of what](#full-of-what) is another thing for each |

The columns: \`acknowledged\` were answered 204; \`failed\` got an error; \`longest\` is the longest wait for any answer; \`lost\` were acknowledged and never came (within 75 s) or were not read back; \`duplicated\` came to the app more than once; \`back\` is the time from the server's return (for a killed one: from the moment it listens) to the first request acknowledged, and \`delivered\` to the first event at the app; \`told\` is the time from the begin of the cut until \`/v1.0/healthz?verbose\` names the component as not up, \`well\` from the server's return until it is up again; RSS is the sidecar's before the cut, at most, and after. Times in seconds, memory in MiB.

The component's settings are the defaults, but for what lets the server keep messages: Redis with an append-only file, written at each command (and \`processingTimeout: 15s\`, so that the redelivery of what was under way is seen); RabbitMQ with \`deliveryMode: 2\`, \`deletedWhenUnused: false\`; JetStream with a stream on disk, a durable consumer and a queue group; MQTT with a session (Mosquitto saves at each change where it is killed, and keeps all in memory otherwise: it writes the whole of it each time); Kafka with one broker; Pulsar with one broker and one bookie; PostgreSQL with synchronous commits; MariaDB and MySQL with \`innodb-flush-log-at-trx-commit=2\`. Memcached keeps nothing over its own death, and nothing over the \`flush_all\` that makes room in it: what was saved before is not counted as lost there.
`

/** docs/components/CERTIFICATION.md. */
export function certificationPage(all: readonly RunResult[], conditions: string): string {
  const results = all.filter(({ driver }) => !besidePeer(driver))
  const rank = (driver: string) => (ORDER.indexOf(driver) + 1 || ORDER.length + 1) + driver
  const drivers = [...new Set(results.map(({ driver }) => driver))].sort((a, b) => (rank(a) < rank(b) ? -1 : 1))
  const parts = [HEAD, `Measured: ${conditions}\n`]
  parts.push(...summary(drivers, results), ...beside(all))
  for (const block of ['pubsub', 'state']) {
    const extra = block === 'pubsub' ? ['duplicated', 'back', 'delivered'] : ['back']
    const names = ['driver', 'cut', 'sent', 'acknowledged', 'failed', 'longest', 'lost', ...extra, 'told', 'well', 'RSS']
    parts.push(`## ${block}\n`, row(names), row(names.map((_, index) => (index < 2 ? '---' : '--:'))))
    for (const driver of drivers.filter((one) => one.startsWith(`${block}.`)))
      for (const result of results.filter((one) => one.driver === driver)) {
        const { sent, acknowledged, failed, longest, lost, duplicated, back, delivered, told, well, rss } = result
        const own = block === 'pubsub' ? [duplicated, back, delivered] : [back]
        parts.push(row([driver, result.cut, sent, acknowledged, failed, longest, lost, ...own, told, well, rss.join(' → ')]))
      }
    parts.push('')
  }
  parts.push('## Full of what\n', row(['driver', 'how', 'and']), row(['---', '---', '---']))
  for (const { driver, how, note } of FULLS) parts.push(row([driver, how, note ?? '']))
  parts.push(row(['pubsub.mqtt3', '–', MQTT]), row(['pubsub.aws.snssqs, S3, Blob Storage', '–', CLOUDS]), '')
  parts.push('## What the callers read\n', 'The answer that most of the failed requests got.\n')
  for (const driver of drivers) {
    const errors = new Set(results.filter((one) => one.driver === driver && one.error).map(({ error }) => messageOf(error)))
    for (const error of errors) parts.push(`- ${driver}: ${error}`)
  }
  return `${parts.join('\n').trimEnd()}\n`
}

const MQTT =
  'MQTT 3.1.1 has no way to refuse: Mosquitto acknowledges what it drops when a session has `max_queued_messages` (1000) waiting. Set it to 0 and bound memory by `max_queued_bytes`, or use another broker where nothing may be lost'
const CLOUDS = 'grow as they are paid for; the servers that tests have in their place keep all in memory'

const besidePeer = (driver: string) => PEERS.some((peer) => driver.startsWith(`${peer} `))

/** The same driver of a daprd, on the same server at the same time. */
function beside(all: readonly RunResult[]): string[] {
  const found = all.filter(({ driver }) => besidePeer(driver))
  if (found.length === 0) return []
  const columns = ['sent', 'acknowledged', 'failed', 'longest', 'lost', 'duplicated', 'back', 'delivered', 'told', 'well'] as const
  const names = ['sidecar', 'cut', ...columns, 'RSS']
  return [
    '## Beside daprd\n',
    'pubsub.redis of `outriderd` and of a real `daprd` (built from its source) on one Redis, each with its own app, database and 100 publishes a second, at the same time. daprd tells nothing: its health has no word for components.\n',
    row(names),
    row(names.map((_, index) => (index < 2 ? '---' : '--:'))),
    ...found.map((one) =>
      row([one.driver.replace(' pubsub.redis', ''), one.cut, ...columns.map((name) => one[name]), one.rss.join(' → ')]),
    ),
    '',
    ...found.filter(({ error }) => error).map(({ driver, cut, error }) => `- ${driver.split(' ')[0]}, ${cut}: ${messageOf(error)}`),
    '',
  ]
}

/** Cut × driver: lost, duplicated, recovery. */
function summary(drivers: readonly string[], results: readonly RunResult[]): string[] {
  const total = (field: 'lost' | 'duplicated') => results.reduce((sum, result) => sum + result[field], 0)
  const lines = [
    '## At a glance\n',
    `${results.length} cuts, ${results.reduce((sum, { acknowledged }) => sum + acknowledged, 0)} requests acknowledged: ${total('lost')} lost, ${total('duplicated')} duplicated. Each cell: lost / duplicated / seconds from the server's return until both the first request was acknowledged and the first event came.\n`,
  ]
  for (const block of ['pubsub', 'state']) {
    const own = drivers.filter((one) => one.startsWith(`${block}.`))
    if (own.length === 0) continue
    const of = results.filter(({ driver }) => own.includes(driver))
    lines.push(row(['cut', ...own]), row(['---', ...own.map(() => '--:')]))
    for (const cut of [...new Set(of.map((result) => result.cut))]) {
      const cells = own.map((driver) => {
        const found = of.find((result) => result.driver === driver && result.cut === cut)
        return found && `${found.lost} / ${found.duplicated} / ${Math.max(found.back, found.delivered ?? 0)}`
      })
      lines.push(row([cut, ...cells]))
    }
    lines.push('')
  }
  return lines
}

function row(cells: readonly (string | number | undefined)[]): string {
  return `| ${cells.map((cell) => cell ?? '–').join(' | ')} |`
}

/** Without the rest of the JSON, and with no port that is another one each time. */
function messageOf(error: string): string {
  const message = /"message":"((?:[^"\\]|\\.)*)/.exec(error)?.[1] ?? error
  return `\`${error.slice(0, 3)}\` ${message
    .replace(/127\.0\.0\.1:\d+/g, 'HOST:PORT')
    .replace(/\/\S+\/([\w.]+\.db)/g, 'FOLDER/$1')
    .replaceAll('\\"', '"')}`
}
