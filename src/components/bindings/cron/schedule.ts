import { Cron } from 'croner'
import { parseDuration } from '../../metadata.ts'

/** When to fire; `start` gives the function that stops it. */
export interface Schedule {
  timeZone: string
  start(tick: () => void): () => void
}

const NAMED: Record<string, string> = {
  '@yearly': '0 0 0 1 1 *',
  '@annually': '0 0 0 1 1 *',
  '@monthly': '0 0 0 1 * *',
  '@weekly': '0 0 0 * * 0',
  '@daily': '0 0 0 * * *',
  '@midnight': '0 0 0 * * *',
  '@hourly': '0 0 * * * *',
}

/** Longest delay of a Node timer. */
const TIMER_LIMIT = 2 ** 31 - 1

/** Reads a schedule in robfig's cron notation; throws an Error that says what is wrong. */
export function parseSchedule(text: string): Schedule {
  const zoned = /^(?:CRON_)?TZ=(\S+)\s+(.*)$/.exec(text.trim())
  const zone = zoned?.[1]
  const expression = zoned?.[2] ?? text.trim()
  const every = /^@every\s+(.+)$/.exec(expression)
  if (every) return everyInterval(every[1] as string, zone)
  const pattern = NAMED[expression] ?? expression
  if (pattern.startsWith('@')) throw new Error(`unrecognized descriptor ${pattern}`)
  const count = pattern.split(/\s+/).length
  if (count !== 5 && count !== 6) throw new Error(`expected 5 to 6 fields, found ${count}`)
  // To croner `?` is the present moment, to robfig it is `*`.
  const settings = { ...(zone && { timezone: zone }), paused: true }
  const normal = pattern.replaceAll('?', '*')
  new Cron(normal, settings).nextRun()
  return {
    timeZone: zone ?? 'Local',
    start(tick) {
      const job = new Cron(normal, { ...settings, paused: false }, tick)
      return () => job.stop()
    },
  }
}

/** Fires every so often, at whole seconds and at least one, without drifting. */
function everyInterval(text: string, zone: string | undefined): Schedule {
  const duration = /^[\d.]/.test(text) && !/^\d+$/.test(text) ? parseDuration(text) : undefined
  if (duration === undefined || duration <= 0) throw new Error(`failed to parse duration ${text}`)
  const interval = Math.max(1000, Math.floor(duration / 1000) * 1000)
  return {
    timeZone: zone ?? 'Local',
    start(tick) {
      let next = performance.now() + interval
      let timer: NodeJS.Timeout
      const wait = () => {
        timer = setTimeout(
          () => {
            const now = performance.now()
            if (now >= next - 1) {
              // After a pause of the machine the missed ticks are skipped.
              next += Math.max(1, Math.ceil((now - next + 1) / interval)) * interval
              tick()
            }
            wait()
          },
          Math.min(TIMER_LIMIT, Math.max(0, next - performance.now())),
        )
      }
      wait()
      return () => clearTimeout(timer)
    },
  }
}
