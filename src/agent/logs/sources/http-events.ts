import { cleanTag, LogEvent, type LogRecord } from '../event.ts'
import { MsgpackError, unpackAll } from '../fluent/unpack.ts'

/** A body that holds no events, and why. */
export class NotEvents extends Error {
  override readonly name = 'NotEvents'
}

/**
 * Events of one request: an object or an array of them, one a line, or text, one event a line. `type` is the content type:
 * JSON, ndjson, msgpack, a form with `json=…` as Fluentd takes it; anything else is text unless it begins as JSON does.
 */
export function eventsOfBody(body: Buffer, type: string, tag: string, time: number): LogEvent[] {
  const media = type.split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const clean = cleanTag(tag)
  const events = (values: readonly unknown[]) => values.map((value, index) => new LogEvent(time, clean, recordOf(value, index)))
  if (media === 'application/msgpack') return events(flat(unpacked(body)))
  let text = body.toString('utf8')
  if (media === 'application/x-www-form-urlencoded') {
    const json = new URLSearchParams(text).get('json')
    if (json === null) throw new NotEvents('the form has no field json')
    text = json
  } else if (media.startsWith('text/') && media !== 'text/json') return lines(text).map((message) => new LogEvent(time, clean, { message }))
  const first = /\S/.exec(text)?.[0]
  if (first === undefined) throw new NotEvents('the body is empty')
  if (first !== '{' && first !== '[') {
    if (media.includes('json') || media.startsWith('application/x-www-form'))
      throw new NotEvents('the body is no JSON object or array of them')
    return lines(text).map((message) => new LogEvent(time, clean, { message }))
  }
  try {
    return events(flat([JSON.parse(text)]))
  } catch (error) {
    if (error instanceof NotEvents) throw error
    const each = lines(text)
    if (each.length < 2) throw new NotEvents(`the body is no JSON: ${(error as Error).message}`)
    return events(each.map((line, index) => parseLine(line, index)))
  }
}

function unpacked(body: Buffer): unknown[] {
  try {
    return unpackAll(body)
  } catch (error) {
    throw error instanceof MsgpackError ? new NotEvents(`the body is no msgpack: ${error.message}`) : error
  }
}

function lines(text: string): string[] {
  return text.split(/\r?\n/).filter((line) => line.trim() !== '')
}

function flat(values: readonly unknown[]): unknown[] {
  return values.flatMap((value) => (Array.isArray(value) ? (value as unknown[]) : [value]))
}

function parseLine(line: string, index: number): unknown {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new NotEvents(`line ${index + 1} is no JSON: ${(error as Error).message}`)
  }
}

function recordOf(value: unknown, index: number): LogRecord {
  if (typeof value === 'string') return { message: value }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as LogRecord
  throw new NotEvents(
    `event ${index + 1} is ${value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`}, not an object or text`,
  )
}
