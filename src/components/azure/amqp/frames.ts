import { Decoder } from './decode.ts'
import { Encoder } from './encode.ts'
import { AmqpError } from './errors.ts'
import { Described } from './values.ts'

export const OPEN = 0x10
export const BEGIN = 0x11
export const ATTACH = 0x12
export const FLOW = 0x13
export const TRANSFER = 0x14
export const DISPOSITION = 0x15
export const DETACH = 0x16
export const END = 0x17
export const CLOSE = 0x18
export const SOURCE = 0x28
export const TARGET = 0x29
export const RECEIVED = 0x23
export const ACCEPTED = 0x24
export const REJECTED = 0x25
export const RELEASED = 0x26
export const MODIFIED = 0x27
const ERROR = 0x1d
export const SASL_MECHANISMS = 0x40
export const SASL_INIT = 0x41
export const SASL_OUTCOME = 0x44

const NAMES: Readonly<Record<string, number>> = {
  'amqp:open:list': OPEN,
  'amqp:begin:list': BEGIN,
  'amqp:attach:list': ATTACH,
  'amqp:flow:list': FLOW,
  'amqp:transfer:list': TRANSFER,
  'amqp:disposition:list': DISPOSITION,
  'amqp:detach:list': DETACH,
  'amqp:end:list': END,
  'amqp:close:list': CLOSE,
  'amqp:received:list': RECEIVED,
  'amqp:accepted:list': ACCEPTED,
  'amqp:rejected:list': REJECTED,
  'amqp:released:list': RELEASED,
  'amqp:modified:list': MODIFIED,
  'amqp:sasl-mechanisms:list': SASL_MECHANISMS,
  'amqp:sasl-outcome:list': SASL_OUTCOME,
}

/** What we take at most in one frame. */
export const MAX_FRAME = 65_536
export const AMQP_HEADER: Buffer = Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 1, 0, 0])
export const SASL_HEADER: Buffer = Buffer.from([0x41, 0x4d, 0x51, 0x50, 3, 1, 0, 0])

export interface Frame {
  channel: number
  /** Code of the performative; undefined: an empty frame, a sign of life. */
  code: number | undefined
  fields: unknown[]
  payload: Buffer
}

/** https://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-transport-v1.0-os.html#section-framing */
export function encodeFrame(type: 0 | 1, channel: number, code: number | undefined, fields: readonly unknown[], payload?: Buffer): Buffer {
  const encoder = new Encoder(128 + (payload?.length ?? 0))
  encoder
    .raw(EMPTY)
    .byte(2)
    .byte(type)
    .byte(channel >> 8)
    .byte(channel & 0xff)
  if (code !== undefined) encoder.described(code).list(fields)
  if (payload) encoder.raw(payload)
  encoder.patchUint32(encoder.length, 0)
  return encoder.bytes()
}

const EMPTY = Buffer.alloc(4)

/** `bytes` is one whole frame. Throws for what is none. */
export function decodeFrame(bytes: Buffer): Frame {
  const offset = bytes.readUInt8(4) * 4
  if (offset < 8 || offset > bytes.length) throw new RangeError('an AMQP frame has no room for its header')
  const channel = bytes.readUInt16BE(6)
  const decoder = new Decoder(bytes, offset)
  if (decoder.done) return { channel, code: undefined, fields: [], payload: bytes.subarray(bytes.length) }
  const performative = decoder.value()
  const code = codeOf(performative)
  if (code === undefined || !(performative instanceof Described) || !Array.isArray(performative.value))
    throw new TypeError('an AMQP frame holds no performative')
  return { channel, code, fields: performative.value, payload: bytes.subarray(decoder.position) }
}

/** The numeric descriptor of a composite, also where the peer writes it as a symbol. */
export function codeOf(value: unknown): number | undefined {
  if (!(value instanceof Described)) return undefined
  return typeof value.descriptor === 'string' ? NAMES[value.descriptor] : Number(value.descriptor)
}

/** The fields of a composite; none of what is no composite. */
export function fieldsOf(value: unknown): readonly unknown[] {
  return value instanceof Described && Array.isArray(value.value) ? value.value : []
}

/** An error as a peer writes it into detach, end, close and rejected; undefined when it says none. */
export function errorIn(value: unknown): AmqpError | undefined {
  if (!(value instanceof Described)) return undefined
  const [condition, description, info] = fieldsOf(value)
  const known = typeof info === 'object' && info !== null ? (info as Record<string, unknown>) : {}
  return new AmqpError(String(condition), typeof description === 'string' && description !== '' ? description : String(condition), known)
}

export function errorOf(condition: unknown, description: string | undefined, info?: unknown): Described {
  return new Described(ERROR, [condition, description, info])
}
