import { ProtoReader, ProtoWriter } from './wire.ts'

/**
 * Protobuf messages described as tables: `message('pkg.Name', { key: string(1), items: repeated(message(2, Item)) })` gives a
 * codec and, by `MessageOf`, its type. Decoded messages hold every field: scalars their zero value, repeated fields and maps
 * empty, messages and `optional` fields undefined when absent. Members of a oneof are written as `optional` ones.
 * Fields that a table does not name are skipped. For paths where each microsecond counts, write the codec by hand (wire.ts).
 */

type Scalar = 'string' | 'bytes' | 'bool' | 'int32' | 'uint32' | 'int64' | 'uint64' | 'double'

export interface EnumType {
  readonly fullName: string
  /** Value names by number. */
  readonly values: Readonly<Record<number, string>>
}

/** One field; `T` is its type in a decoded message, `I` what an encoder takes. */
export interface Field<T, I = T> {
  readonly number: number
  readonly type: Scalar | 'enum' | 'message'
  readonly label: 'single' | 'optional' | 'repeated' | 'map'
  readonly enumType?: EnumType
  /** Of a message field, or of a map's values; undefined in a map of strings. */
  readonly messageType?: () => MessageType<unknown, unknown>
  readonly json?: string
  /** Carries the types only; never there. */
  readonly decoded?: T
  readonly input?: (input: I) => void
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds fields of every type; each one's own type is inferred from it.
export type Fields = Readonly<Record<string, Field<any, any>>>
type Decoded<F> = F extends Field<infer T, never> ? T : never
type Input<F> = F extends { readonly input?: (input: infer I) => void } ? I : never
type DecodedFields<F extends Fields> = { -readonly [K in keyof F]: Decoded<F[K]> }
type InputFields<F extends Fields> = { readonly [K in keyof F]?: Input<F[K]> | undefined }

export interface MessageType<T, I = T> {
  readonly fullName: string
  readonly fields: Fields
  /** Throws WireError. Byte fields are views of `bytes`, not copies. */
  decode(bytes: Buffer): T
  read(reader: ProtoReader): T
  encode(value: I): Buffer
  write(writer: ProtoWriter, value: I): void
}

/** The decoded form of a message type. */
export type MessageOf<M> = M extends MessageType<infer T, never> ? T : never
/** What `encode` of a message type takes: every field may be left out. */
export type InputOf<M> = M extends { encode(value: infer I): Buffer } ? I : never

const NO_BYTES = Buffer.alloc(0)
const ZERO: Record<Scalar, unknown> = { string: '', bytes: NO_BYTES, bool: false, int32: 0, uint32: 0, int64: 0, uint64: 0, double: 0 }
const WIRE_TYPE: Record<Field<unknown>['type'], number> = {
  string: 2,
  bytes: 2,
  message: 2,
  bool: 0,
  int32: 0,
  uint32: 0,
  int64: 0,
  uint64: 0,
  enum: 0,
  double: 1,
}

const scalar = <T, I = T>(type: Scalar, number: number): Field<T, I> => ({ number, type, label: 'single' })

export const string = (number: number): Field<string> => scalar('string', number)
export const bytes = (number: number): Field<Buffer, Uint8Array> => scalar('bytes', number)
export const bool = (number: number): Field<boolean> => scalar('bool', number)
export const int32 = (number: number): Field<number> => scalar('int32', number)
export const uint32 = (number: number): Field<number> => scalar('uint32', number)
/** As a number: exact up to 2^53. */
export const int64 = (number: number): Field<number> => scalar('int64', number)
/** As a number: exact up to 2^53. */
export const uint64 = (number: number): Field<number> => scalar('uint64', number)
export const double = (number: number): Field<number> => scalar('double', number)
/** As its number; unknown numbers are kept. */
export const enumeration = (number: number, enumType: EnumType): Field<number> => ({ number, type: 'enum', label: 'single', enumType })
export const nested = <T, I>(number: number, type: MessageType<T, I> | (() => MessageType<T, I>)): Field<T | undefined, I | undefined> => ({
  number,
  type: 'message',
  label: 'optional',
  messageType: (typeof type === 'function' ? type : () => type) as () => MessageType<unknown, unknown>,
})
/** A scalar whose absence counts: undefined when not sent; a zero value is sent. */
export const optional = <T, I>(field: Field<T, I>): Field<T | undefined, I | undefined> =>
  ({ ...field, label: 'optional' }) as Field<T | undefined, I | undefined>
export const repeated = <T, I>(field: Field<T, I>): Field<NonNullable<T>[], readonly NonNullable<I>[]> =>
  ({ ...field, label: 'repeated' }) as unknown as Field<NonNullable<T>[], readonly NonNullable<I>[]>
/** map<string, string>; decoded without a prototype. */
export const map = (number: number): Field<Record<string, string>, Readonly<Record<string, string>>> => ({
  number,
  type: 'message',
  label: 'map',
})
/** map<string, message>; decoded without a prototype. */
export const mapOf = <T, I>(number: number, type: MessageType<T, I>): Field<Record<string, T>, Readonly<Record<string, I>>> => ({
  number,
  type: 'message',
  label: 'map',
  messageType: () => type as MessageType<unknown, unknown>,
})

/** One for all: encoding never waits and never calls out. */
const shared = new ProtoWriter()
const types = new Map<string, MessageType<unknown, unknown>>()

/** Every message type made so far, by full name: what server reflection describes. */
export function knownMessages(): ReadonlyMap<string, MessageType<unknown, unknown>> {
  return types
}

/** Makes a message type from its table. @param fullName e.g. `dapr.proto.runtime.v1.GetStateRequest` */
export function message<F extends Fields>(fullName: string, fields: F): MessageType<DecodedFields<F>, InputFields<F>> {
  type Value = Record<string, unknown>
  const names = Object.keys(fields)
  const byNumber: (string | undefined)[] = []
  for (const name of names) byNumber[(fields[name] as Field<unknown>).number] = name

  const type: MessageType<DecodedFields<F>, InputFields<F>> = {
    fullName,
    fields,
    decode: (buffer) => type.read(new ProtoReader(buffer)),
    read(reader) {
      const out: Value = {}
      for (const name of names) out[name] = absent(fields[name] as Field<unknown>)
      while (reader.next()) {
        const name = byNumber[reader.field]
        const field = name === undefined ? undefined : (fields[name] as Field<unknown>)
        if (name === undefined || !field) reader.skip()
        else if (field.label === 'map') readEntry(field, reader, out[name] as Value)
        else if (field.label === 'repeated') readRepeated(field, reader, out[name] as unknown[])
        else if (reader.type === WIRE_TYPE[field.type]) out[name] = readOne(field, reader)
        else reader.skip()
      }
      return out as DecodedFields<F>
    },
    encode(value) {
      type.write(shared.reset(), value)
      return shared.take()
    },
    write(writer, value) {
      for (const name of names) {
        const field = fields[name] as Field<unknown>
        const given = (value as Value)[name]
        if (given === undefined) continue
        if (field.label === 'map') {
          for (const key in given as Value) {
            const mark = writer.begin(field.number)
            writer.string(1, key)
            const entry = (given as Value)[key]
            if (field.messageType) writeOne({ ...field, number: 2 }, writer, entry)
            else writer.string(2, entry as string)
            writer.end(mark)
          }
        } else if (field.label === 'repeated') for (const item of given as unknown[]) writeOne(field, writer, item)
        else if (field.label === 'optional' || given !== ZERO[field.type as Scalar])
          writeOne(field, writer, given, field.label === 'optional')
      }
    },
  }
  types.set(fullName, type as MessageType<unknown, unknown>)
  return type
}

function absent(field: Field<unknown>): unknown {
  switch (field.label) {
    case 'repeated':
      return []
    case 'map':
      return Object.create(null)
    case 'optional':
      return undefined
    default:
      return field.type === 'enum' ? 0 : ZERO[field.type as Scalar]
  }
}

function readOne(field: Field<unknown>, reader: ProtoReader): unknown {
  switch (field.type) {
    case 'string':
      return reader.string()
    case 'bytes':
      return reader.bytes()
    case 'bool':
      return reader.uint() !== 0
    case 'uint32':
      return reader.uint()
    case 'int32':
    case 'enum':
      return reader.int32()
    case 'int64':
    case 'uint64':
      return reader.int64()
    case 'double':
      return reader.double()
    case 'message':
      return field.messageType?.().read(reader.message())
  }
}

function readRepeated(field: Field<unknown>, reader: ProtoReader, into: unknown[]): void {
  if (reader.type === WIRE_TYPE[field.type]) into.push(readOne(field, reader))
  else if (reader.type === 2) {
    // Numbers one after the other in one length-delimited run.
    const run = reader.message()
    while (run.run(WIRE_TYPE[field.type])) into.push(readOne(field, run))
  } else reader.skip()
}

function readEntry(field: Field<unknown>, reader: ProtoReader, into: Record<string, unknown>): void {
  if (!field.messageType) return reader.entry(into as Record<string, string>)
  const entry = reader.message()
  let key = ''
  let value: unknown
  while (entry.next()) {
    if (entry.field === 1) key = entry.string()
    else if (entry.field === 2) value = field.messageType().read(entry.message())
    else entry.skip()
  }
  into[key] = value ?? field.messageType().decode(NO_BYTES)
}

function writeOne(field: Field<unknown>, writer: ProtoWriter, value: unknown, always = field.label === 'repeated'): void {
  const { number } = field
  switch (field.type) {
    case 'string':
      return writer.string(number, value as string, always)
    case 'bytes':
      return writer.bytes(number, value as Uint8Array, always)
    case 'bool':
      return writer.uint(number, value ? 1 : 0, always)
    case 'uint32':
      return writer.uint(number, value as number, always)
    case 'int32':
    case 'int64':
    case 'uint64':
    case 'enum':
      return writer.int64(number, value as number, always)
    case 'double':
      return writer.double(number, value as number, always)
    case 'message': {
      const mark = writer.begin(number)
      field.messageType?.().write(writer, value)
      writer.end(mark)
    }
  }
}
