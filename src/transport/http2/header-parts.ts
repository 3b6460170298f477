import { ConnectionError, H2 } from './protocol.ts'

/** Frames of one header block: those without content cost as much as others. */
const MAX_PARTS = 64

export interface WholeBlock {
  stream: number
  ended: boolean
  bytes: Buffer
}

/** Puts a header block together that comes in several frames: one at a time, nothing else may come in between. */
export class HeaderParts {
  readonly #most: number
  #parts: Buffer[] = []
  #size = 0
  #ended = false
  /** Whose block is not whole yet. */
  stream: number | undefined

  /** @param most Bytes of one block. */
  constructor(most: number) {
    this.#most = most
  }

  begin(stream: number, ended: boolean): void {
    this.stream = stream
    this.#ended = ended
    this.#parts = []
    this.#size = 0
  }

  /** The block, when this was its last part. Throws ConnectionError when it is too much. */
  add(part: Buffer, last: boolean): WholeBlock | undefined {
    this.#size += part.length
    this.#parts.push(Buffer.from(part))
    if (this.#size > this.#most || this.#parts.length > MAX_PARTS) throw new ConnectionError(H2.CALM, 'a flood of headers')
    if (!last) return undefined
    const whole = { stream: this.stream as number, ended: this.#ended, bytes: Buffer.concat(this.#parts) }
    this.stream = undefined
    this.#parts = []
    return whole
  }
}
