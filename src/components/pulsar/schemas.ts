import { messageOf } from '../../errors.ts'
import type { InputOf } from '../../transport/grpc/message.ts'
import { decodeAvro, encodeAvro } from '../avro.ts'
import { type Avro, parseAvro } from '../avro-schema.ts'
import { exactJson, parseExact } from '../exact-json.ts'
import { isTruthy, MetadataError } from '../metadata.ts'
import { type Schema, SchemaType } from './commands.ts'

/** The schema of a topic. */
export interface TopicSchema {
  /** As the broker is told. */
  registration: InputOf<typeof Schema>
  /** An event as it travels. Throws, with Dapr's words, when it does not fit. */
  encode(data: Buffer, metadata: Readonly<Record<string, string>>): Buffer
  /** An event as the app gets it. */
  decode(payload: Buffer): Buffer
}

const NAMES = { json: 'JSON', avro: 'Avro', proto: 'Proto' } as const
type Protocol = keyof typeof NAMES

const BOOLEANS: Readonly<Record<string, boolean>> = { '1': true, t: true, true: true, '0': false, f: false, false: false }

/** The fields `<topic>.jsonschema` and so on, by topic. Throws MetadataError, with Dapr's words. */
export function readSchemas(properties: Readonly<Record<string, string>>): Map<string, TopicSchema> {
  const schemas = new Map<string, TopicSchema>()
  for (const [field, text] of Object.entries(properties)) {
    const match = /^(.*)\.(json|avro|proto)schema$/.exec(field)
    if (!match) continue
    const [, topic = '', protocol] = match as unknown as [string, string, Protocol]
    schemas.set(topic, schemaOf(topic, protocol, text, isRaw(`${topic}.rawschema`, properties)))
  }
  for (const field in properties) if (field.endsWith('.rawschema')) isRaw(field, properties)
  return schemas
}

function isRaw(field: string, properties: Readonly<Record<string, string>>): boolean {
  const given = properties[field]
  if (given === undefined) return false
  const found =
    BOOLEANS[
      given === 'TRUE' || given === 'True' || given === 'T'
        ? 'true'
        : given === 'FALSE' || given === 'False' || given === 'F'
          ? 'false'
          : given
    ]
  if (found === undefined) throw new MetadataError(`invalid value for "${field}": ${JSON.stringify(given)} is not true or false`)
  return found
}

function schemaOf(topic: string, protocol: Protocol, text: string, raw: boolean): TopicSchema {
  let inner: unknown
  let type: Avro
  try {
    inner = JSON.parse(text)
    type = parseAvro(inner)
  } catch (error) {
    throw new MetadataError(`failed to parse ${protocol} schema for topic "${topic}": ${messageOf(error)}`)
  }
  const name = NAMES[protocol]
  const registered = raw || protocol === 'proto' ? inner : cloudEventSchema(inner)
  const registration = { name, data: Buffer.from(JSON.stringify(registered)), type: SchemaType[protocol] }
  if (protocol === 'proto')
    return {
      registration,
      encode() {
        throw new Error('publish-time validation is not supported for schema protocol "proto"; only json and avro schemas are validated')
      },
      decode: (payload) => payload,
    }
  const whole = raw ? type : parseAvro(registered)
  const encode = (data: Buffer, metadata: Readonly<Record<string, string>>) => {
    refuseMixture(protocol, raw, isTruthy(metadata.rawPayload))
    const event = raw ? parseExact(data.toString()) : unfolded(data, protocol)
    let encoded: Buffer
    try {
      encoded = encodeAvro(whole, event)
    } catch (error) {
      throw new Error(`${protocol} schema validation failed: ${messageOf(error)}`, { cause: error })
    }
    return protocol === 'avro' ? encoded : Buffer.from(exactJson(event))
  }
  const decode =
    protocol === 'avro' ? (payload: Buffer) => Buffer.from(exactJson(decodeAvro(whole, payload))) : (payload: Buffer) => payload
  return { registration, encode, decode }
}

function refuseMixture(protocol: Protocol, raw: boolean, rawPayload: boolean): void {
  const title = protocol === 'avro' ? 'Avro' : 'JSON'
  if (rawPayload && !raw)
    throw new Error(
      `rawPayload=true is not compatible with ${title} schema topics using CloudEvents envelope; use a topic configured with rawschema=true`,
    )
  if (!rawPayload && raw)
    throw new Error(
      "rawschema=true topics require per-message rawPayload=true; otherwise Dapr wraps in a CloudEvents envelope that won't match the registered schema",
    )
}

/** A CloudEvent whose data, where it is a text, stands there as what that text says. */
function unfolded(data: Buffer, protocol: Protocol): Record<string, unknown> {
  const normalize = `failed to normalize CloudEvents data for ${protocol === 'avro' ? 'Avro' : 'JSON schema'}`
  let event: Record<string, unknown>
  try {
    event = parseExact(data.toString()) as Record<string, unknown>
  } catch {
    throw new Error(`${normalize}: failed to parse CloudEvents envelope`)
  }
  if (typeof event.data !== 'string') return event
  try {
    return { ...event, data: parseExact(event.data) }
  } catch {
    throw new Error(`${normalize}: data field contains invalid JSON`)
  }
}

/** The schema of a CloudEvent with data of this schema, as Dapr registers it: the names, their order and their defaults. */
function cloudEventSchema(inner: unknown): unknown {
  const maybe = (name: string, type: unknown = 'string') => ({ name, type: ['null', type], default: null })
  return {
    type: 'record',
    name: 'CloudEvent',
    namespace: 'io.cloudevents',
    fields: [
      ...['id', 'source', 'specversion', 'type'].map((name) => ({ name, type: 'string' })),
      ...['datacontenttype', 'subject', 'time', 'topic', 'pubsubname', 'traceid', 'traceparent', 'tracestate', 'expiration'].map((name) =>
        maybe(name),
      ),
      maybe('data', inner),
      maybe('data_base64'),
    ],
  }
}
