import type { InRecord, OutRecord } from './records.ts'
import type { KafkaSettings } from './settings.ts'

export const NULL: Buffer = Buffer.from('null')
const SCHEMA_TYPE = 'valueschematype'

export interface Outgoing {
  record: OutRecord
  /** Undefined: by the key. */
  partition: number | undefined
}

/** The record of a message: all its metadata as headers, `partitionKey` or `__key` as the key, the text `null` as a tombstone. */
export function toRecord(data: Buffer, metadata: Readonly<Record<string, string>>, settings: KafkaSettings): Outgoing {
  let key: Buffer | null = null
  let partition: number | undefined
  const headers: [string, string][] = []
  for (const name in metadata) {
    const value = metadata[name] as string
    if (name === 'partitionKey' || name === '__key') key = Buffer.from(value)
    else if (name === 'partitionNumber') partition = partitionNumber(value)
    if (settings.excludeHeaders?.test(name)) continue
    headers.push([name, value])
  }
  return { record: { key, value: data.equals(NULL) ? null : data, headers }, partition }
}

/** Whether metadata of a publish or a subscription say that values are Avro, by a schema registry. Throws for other types, with Dapr's words. */
export function saysAvro(metadata: Readonly<Record<string, string>>): boolean {
  for (const name in metadata) {
    if (name.length !== SCHEMA_TYPE.length || name.toLowerCase() !== SCHEMA_TYPE) continue
    const type = metadata[name] as string
    if (/^avro$/i.test(type)) return true
    if (!/^(none)?$/i.test(type)) throw new Error(`error parsing schema type. '${type}' is not a supported value: use Avro or None`)
  }
  return false
}

function partitionNumber(text: string): number {
  if (!/^[+-]?\d+$/.test(text) || Math.abs(Number(text)) > 2 ** 31 - 1) throw new Error(`invalid partitionNumber metadata value "${text}"`)
  const number = Number(text)
  if (number < 0) throw new Error(`partitionNumber must be non-negative, got ${number}`)
  return number
}

/** What the app gets beside the value: every header, and where the record came from. */
export function metadataOf(record: InRecord & { topic: string; partition: number }, settings: KafkaSettings): Record<string, string> {
  const encode = settings.escapeHeaders ? queryEscape : (text: string) => text
  const metadata: Record<string, string> = {}
  if (record.key !== null) metadata.__key = encode(record.key.toString())
  metadata.__offset = String(record.offset)
  metadata.__topic = record.topic
  metadata.__timestamp = String(record.timestamp)
  metadata.__partition = String(record.partition)
  for (const [name, value] of record.headers) {
    if (!settings.excludeHeaders?.test(name)) metadata[name] = encode(value?.toString() ?? '')
  }
  return metadata
}

/** A tombstone is JSON's null for the app. */
export function payloadOf(record: InRecord): Buffer {
  return record.value ?? NULL
}

/** As Go's url.QueryEscape. */
function queryEscape(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+')
}
