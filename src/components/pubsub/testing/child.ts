import { createLogger } from '../../../telemetry/log.ts'
import { pubsubDrivers } from '../registry.ts'

/**
 * A process of its own for tests and the bench. Arguments: driver type, role, topic, count, properties as JSON.
 * publish: publishes `count` messages one after the other, a line per acknowledged one. hold: takes messages and never
 * answers, a line per message. echo: a line per message with its data.
 */
const [type = '', role = '', topic = '', count = '0', properties = '{}'] = process.argv.slice(2)
const row = pubsubDrivers.find((candidate) => candidate.type === type)
if (row === undefined) throw new Error(`no driver ${type}`)
const log = createLogger({ level: 'fatal', json: false, appId: 'child', version: 'test' })
const driver = await row.load()
const pubsub = driver.create({
  name: 'pubsub',
  type,
  version: 'v1',
  properties: JSON.parse(properties) as Record<string, string>,
  appId: 'child',
  namespace: 'default',
  log,
})
await pubsub.init(AbortSignal.timeout(10_000))
const say = (line: string) => process.stdout.write(`${line}\n`)

if (role === 'publish') {
  say('ready')
  for (let index = 0; index < Number(count); index++) {
    await pubsub.publish({ topic, data: Buffer.from(`m${index}`), metadata: {} })
    say(`m${index}`)
  }
} else {
  await pubsub.subscribe(topic, {}, async (message) => {
    say(message.data.toString())
    if (role === 'hold') await new Promise(() => {})
  })
  say('ready')
  process.stdin.resume()
}
