import { Transform, type TransformCallback } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import type { TextMap } from '../../blocks/middleware/driver.ts'

/** Maps text that comes in pieces: characters that are cut wait for their rest. */
export class TextMapper {
  readonly #map: TextMap
  readonly #decoder = new StringDecoder('utf8')

  constructor(map: TextMap) {
    this.#map = map
  }

  push(chunk: Buffer): Buffer {
    return Buffer.from(this.#map(this.#decoder.write(chunk)))
  }

  /** What was cut at the very end. */
  end(): Buffer {
    return Buffer.from(this.#map(this.#decoder.end()))
  }
}

/** The same as a stream. */
export class TextMapStream extends Transform {
  readonly #mapper: TextMapper

  constructor(map: TextMap) {
    super()
    this.#mapper = new TextMapper(map)
  }

  override _transform(chunk: Buffer, _: BufferEncoding, done: TransformCallback): void {
    done(null, this.#mapper.push(chunk))
  }

  override _flush(done: TransformCallback): void {
    done(null, this.#mapper.end())
  }
}

/** One map after the other. */
export function chained(first: TextMap | undefined, second: TextMap): TextMap {
  return first ? (text) => second(first(text)) : second
}
