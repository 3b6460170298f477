import { ProtoReader, ProtoWriter } from '../../transport/grpc/wire.ts'

/** For tests: a message by field numbers, so that a wrong number in a table cannot hide. Repeated fields are arrays. */
export interface Raw {
  [field: number]: RawValue | readonly RawValue[]
}
type RawValue = string | number | boolean | Buffer | Raw

export function rawMessage(fields: Raw): Buffer {
  const writer = new ProtoWriter()
  const write = (message: Raw) => {
    for (const [field, given] of Object.entries(message)) {
      for (const value of Array.isArray(given) ? (given as RawValue[]) : [given as RawValue]) {
        const number = Number(field)
        if (typeof value === 'string') writer.string(number, value, true)
        else if (typeof value === 'object' && !Buffer.isBuffer(value)) {
          const mark = writer.begin(number)
          write(value)
          writer.end(mark)
        } else if (Buffer.isBuffer(value)) writer.bytes(number, value, true)
        else writer.int64(number, Number(value), true)
      }
    }
  }
  write(fields)
  return writer.take()
}

/** map<string,string> as the entries it is on the wire. */
export function rawMap(entries: Readonly<Record<string, string>>): Raw[] {
  return Object.entries(entries).map(([key, value]) => ({ 1: key, 2: value }))
}

/** The shape of an answer: field numbers to `s` text, `n` number, or the shape of a message; a list of one of these when repeated. */
export type Shape = { readonly [field: number]: 's' | 'n' | Shape | readonly ['s' | 'n' | Shape] }

/** A message read by its shape; what the shape does not name makes the test fail. */
export function readRaw(bytes: Buffer, shape: Shape): Record<string, unknown> {
  const out: Record<string, unknown> = {}
  const reader = new ProtoReader(bytes)
  while (reader.next()) {
    const given = shape[reader.field]
    const one = (Array.isArray(given) ? given[0] : given) as 's' | 'n' | Shape | undefined
    if (one === undefined) throw new Error(`field ${reader.field} is not meant here`)
    const { field } = reader
    const value = one === 's' ? reader.string() : one === 'n' ? reader.int64() : readRaw(reader.bytes(), one)
    if (Array.isArray(given)) out[field] = [...((out[field] as unknown[] | undefined) ?? []), value]
    else out[field] = value
  }
  return out
}
