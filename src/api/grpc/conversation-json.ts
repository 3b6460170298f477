import type { Field, MessageType } from '../../transport/grpc/message.ts'
import { objectOf, type StructMessage } from './conversation-messages.ts'

/** A JSON body that does not fit its message. */
export class JsonError extends Error {
  override readonly name = 'JsonError'
}

type Json = Record<string, unknown>
type AnyField = Field<unknown>

/**
 * A message from its JSON, by the rules of protobuf: fields by JSON or proto name, unknown ones ignored, null is absent.
 * A Struct stays the object it is, and an Any's value its JSON text: both go where only JSON is asked for. Throws JsonError.
 */
export function fromJson<T>(type: MessageType<T, never>, json: unknown): T {
  return readMessage(type as unknown as MessageType<unknown>, json, type.fullName) as T
}

function readMessage(type: MessageType<unknown>, json: unknown, what: string): unknown {
  if (type.fullName === 'google.protobuf.Duration') return readDuration(json)
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new JsonError(`unexpected token ${show(json)} for ${what}`)
  if (type.fullName === 'google.protobuf.Any') return readAny(json as Json)
  if (type.fullName === 'google.protobuf.Struct') return { given: json }
  const out = type.decode(Buffer.alloc(0)) as Json
  let kind: string | undefined
  for (const [name, field] of Object.entries(type.fields as Readonly<Record<string, AnyField>>)) {
    const given = (json as Json)[name] ?? (json as Json)[protoName(name)]
    if (given === undefined || given === null) continue
    if (type.fullName === 'dapr.proto.runtime.v1.ConversationMessage') {
      if (kind) throw new JsonError(`error parsing "${name}", oneof ${type.fullName}.message_types is already set`)
      kind = name
    }
    out[name] = readField(field, given, name)
  }
  return out
}

function readField(field: AnyField, given: unknown, name: string): unknown {
  if (field.label === 'map') {
    if (typeof given !== 'object' || Array.isArray(given)) throw new JsonError(`unexpected token ${show(given)} for map field ${name}`)
    const read = (value: unknown, key: string) =>
      field.messageType ? readMessage(field.messageType(), value, `${name}.${key}`) : readScalar('string', value, name)
    return Object.fromEntries(Object.entries(given as Json).map(([key, value]) => [key, read(value, key)]))
  }
  const read = (value: unknown) =>
    field.type === 'message'
      ? readMessage((field.messageType as () => MessageType<unknown>)(), value, name)
      : readScalar(field.type, value, name)
  if (field.label !== 'repeated') return read(given)
  if (!Array.isArray(given)) throw new JsonError(`unexpected token ${show(given)} for repeated field ${name}`)
  return given.map(read)
}

function readScalar(type: AnyField['type'], given: unknown, name: string): unknown {
  if (type === 'string' && typeof given === 'string') return given
  if (type === 'bool' && typeof given === 'boolean') return given
  if (type === 'double') {
    const number = typeof given === 'number' || (typeof given === 'string' && given.trim() !== '') ? Number(given) : Number.NaN
    if (Number.isFinite(number)) return number
  }
  throw new JsonError(`invalid value for ${type} field ${name}: ${show(given)}`)
}

function readDuration(given: unknown) {
  const match = typeof given === 'string' ? /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/.exec(given) : null
  if (!match) throw new JsonError(`invalid google.protobuf.Duration value ${show(given)}`)
  const sign = match[1] ? -1 : 1
  return { seconds: sign * Number(match[2]), nanos: sign * Number((match[3] ?? '').padEnd(9, '0')) }
}

function readAny(json: Json) {
  const typeUrl = json['@type'] ?? ''
  if (typeof typeUrl !== 'string') throw new JsonError(`invalid value for string field @type: ${show(typeUrl)}`)
  return { typeUrl, value: typeUrl === '' ? Buffer.alloc(0) : Buffer.from(JSON.stringify(json)) }
}

/** A message as JSON: zero values left out, 64-bit numbers as strings. An Any must come from `fromJson`. */
export function toJson<I>(type: MessageType<unknown, I>, message: I): Json {
  const out: Json = {}
  for (const [name, field] of Object.entries(type.fields as Readonly<Record<string, AnyField>>)) {
    const value = (message as Json)[name]
    if (value === undefined) continue
    if (field.label === 'repeated') {
      const list = value as unknown[]
      if (list.length > 0) out[name] = list.map((item) => writeOne(field, item))
    } else if (field.label === 'map') {
      const entries = Object.entries(value as Json)
      if (entries.length > 0) out[name] = Object.fromEntries(entries.map(([key, item]) => [key, writeOne(field, item)]))
    } else if (field.label === 'optional' || (value !== '' && value !== 0 && value !== false)) out[name] = writeOne(field, value)
  }
  return out
}

function writeOne(field: AnyField, value: unknown): unknown {
  if (field.type === 'int64' || field.type === 'uint64') return String(value)
  if (field.type !== 'message') return value
  const type = field.messageType?.()
  if (!type) return value
  if (type.fullName !== 'google.protobuf.Any') return toJson(type, value)
  const { typeUrl, value: text } = value as { typeUrl: string; value: Buffer }
  return typeUrl === '' ? {} : (JSON.parse(text.toString()) as unknown)
}

/** The object that a Struct stands for, whichever wire it came by. */
export function structObject(struct: StructMessage | { given: Json } | undefined): Json | undefined {
  if (!struct) return undefined
  return 'given' in struct ? struct.given : objectOf(struct)
}

const protoName = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const show = (value: unknown) => JSON.stringify(value)?.slice(0, 100)
