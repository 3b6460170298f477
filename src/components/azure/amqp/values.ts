/** A value whose AMQP type is said, where the JavaScript value alone says another. */
export class Typed {
  readonly type: TypeName
  readonly value: unknown

  constructor(type: TypeName, value: unknown) {
    this.type = type
    this.value = value
  }
}

export type TypeName = 'symbol' | 'ubyte' | 'ushort' | 'uint' | 'ulong' | 'int' | 'long' | 'uuid' | 'symbols' | 'uuids' | 'symbolic-map'

/** A value with a descriptor: a composite, or e.g. a filter. */
export class Described {
  /** A number (ulong) or a symbol. */
  readonly descriptor: number | bigint | string
  readonly value: unknown

  constructor(descriptor: number | bigint | string, value: unknown) {
    this.descriptor = descriptor
    this.value = value
  }
}

export const symbol = (text: string): Typed => new Typed('symbol', text)
export const uint = (value: number): Typed => new Typed('uint', value)
export const ulong = (value: number | bigint): Typed => new Typed('ulong', value)
export const int = (value: number): Typed => new Typed('int', value)
export const long = (value: number | bigint): Typed => new Typed('long', value)
/** Text of 36 characters, or 16 bytes. */
export const uuid = (value: string | Buffer): Typed => new Typed('uuid', value)
export const uuids = (values: readonly (string | Buffer)[]): Typed => new Typed('uuids', values)
export const symbols = (values: readonly string[]): Typed => new Typed('symbols', values)
export const described = (descriptor: number | bigint | string, value: unknown): Described => new Described(descriptor, value)
