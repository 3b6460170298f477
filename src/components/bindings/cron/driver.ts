import type { Binding, BindingEvent } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { parseSchedule, type Schedule } from './schedule.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'schedule',
    kind: 'string',
    required: true,
    description: 'Cron expression of 5 or 6 fields (seconds first), @hourly and the like, or @every 15m; TZ=Area/City may stand before it.',
  },
]

/** Ticks whose handler has not answered yet; at the bound further ticks are left out. */
const RUNNING_LIMIT = 16

/** bindings.cron: an event at each tick; missed ticks are not made up. */
export const driver: DriverModule<Binding> = {
  summary: 'Calls the app on a schedule.',
  metadata: fields,
  create(context) {
    const text = String(parseMetadata(fields, context.properties).schedule)
    let schedule: Schedule
    try {
      schedule = parseSchedule(text)
    } catch (error) {
      throw new MetadataError(`metadata field schedule: "${text}" cannot be read: ${messageOf(error)}`)
    }
    const readers = new Set<AsyncDisposable>()
    return {
      async init() {},
      async read(handler) {
        const running = new Set<Promise<void>>()
        const tick = () => {
          if (running.size >= RUNNING_LIMIT)
            return context.log.warn(`binding ${context.name}: tick left out, the app has not answered the last ${RUNNING_LIMIT}`)
          const event: BindingEvent = { data: Buffer.alloc(0), metadata: { timeZone: schedule.timeZone, readTimeUTC: goTime(new Date()) } }
          const done: Promise<void> = handler(event).then(
            () => void running.delete(done),
            (error: unknown) => {
              running.delete(done)
              context.log.debug(`binding ${context.name}: tick not handled: ${messageOf(error)}`)
            },
          )
          running.add(done)
        }
        const stop = schedule.start(tick)
        const reader: AsyncDisposable = {
          async [Symbol.asyncDispose]() {
            stop()
            readers.delete(reader)
            await Promise.all(running)
          },
        }
        readers.add(reader)
        return reader
      },
      async [Symbol.asyncDispose]() {
        await Promise.all([...readers].map((reader) => reader[Symbol.asyncDispose]()))
      },
    }
  },
}

/** Go's text of a time in UTC. */
function goTime(time: Date): string {
  return `${time.toISOString().replace('T', ' ').replace('Z', '')} +0000 UTC`
}
