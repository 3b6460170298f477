import { parseDuration } from '../metadata.ts'
import type { OutMessage } from './hot.ts'

/** RFC 3339, as Go reads it. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

/** A message with what Dapr takes from a publish request's metadata; the rest are its properties. Throws on what cannot be read. */
export function toMessage(payload: Buffer, metadata: Readonly<Record<string, string>>): OutMessage {
  const message = { payload, key: undefined as string | undefined, properties: [] as [string, string][], deliverAt: 0 }
  for (const name in metadata) {
    const value = metadata[name] as string
    if (value === '') continue
    if (name === 'partitionKey') message.key = value
    else if (name === 'deliverAt') message.deliverAt = timeOf(value)
    else if (name === 'deliverAfter') message.deliverAt = Date.now() + durationOf(value)
    else message.properties.push([name, value])
  }
  return message
}

function timeOf(value: string): number {
  const time = TIME.test(value) ? Date.parse(value) : Number.NaN
  if (Number.isNaN(time)) throw new Error(`metadata deliverAt: "${value}" is not a time such as 2026-01-02T15:04:05Z`)
  return time
}

function durationOf(value: string): number {
  // Go wants a unit.
  const duration = /[a-zµμ]$/.test(value) || value === '0' ? parseDuration(value) : undefined
  if (duration === undefined) throw new Error(`metadata deliverAfter: "${value}" is not a duration such as 30s`)
  return duration
}
