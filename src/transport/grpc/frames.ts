import { Code } from '../../errors.ts'
import { GrpcStatus } from './status.ts'

/** Puts gRPC's five-byte prefix into the first five bytes of `message`, which were left free for it. */
export function seal(message: Buffer): Buffer {
  message[0] = 0
  message.writeUInt32BE(message.length - 5, 1)
  return message
}

/** `payload` as one uncompressed gRPC message. */
export function frame(payload: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(payload.length + 5)
  out.set(payload, 5)
  return seal(out)
}

/**
 * Cuts a byte stream into gRPC messages. We name no grpc-accept-encoding, so peers send them uncompressed.
 * Throws GrpcStatus for a message past the limit or one that cannot be unpacked.
 */
export class FrameReader {
  readonly #limit: number
  readonly #onMessage: (message: Buffer) => void
  #rest: Buffer[] = []
  #size = 0
  #need = 5

  constructor(limit: number, onMessage: (message: Buffer) => void) {
    this.#limit = limit
    this.#onMessage = onMessage
  }

  /** Whether a message has begun and not ended. */
  get partial(): boolean {
    return this.#size > 0
  }

  push(chunk: Buffer): void {
    if (this.#size > 0) {
      this.#rest.push(chunk)
      this.#size += chunk.length
      if (this.#size < this.#need) return
      chunk = Buffer.concat(this.#rest, this.#size)
      this.#rest = []
      this.#size = 0
    }
    let at = 0
    while (chunk.length - at >= 5) {
      const length = chunk.readUInt32BE(at + 1)
      if (length > this.#limit)
        throw new GrpcStatus(Code.ResourceExhausted, `grpc: received message larger than max (${length} vs. ${this.#limit})`)
      const flag = chunk[at]
      if (flag !== 0)
        throw new GrpcStatus(
          Code.Unimplemented,
          flag === 1
            ? 'grpc: compressed messages are not supported: send them with grpc-encoding identity'
            : `grpc: received unexpected payload format ${flag}`,
        )
      if (chunk.length - at - 5 < length) {
        this.#need = length + 5
        break
      }
      this.#onMessage(chunk.subarray(at + 5, at + 5 + length))
      at += 5 + length
      this.#need = 5
    }
    if (at < chunk.length) {
      this.#rest = [at === 0 ? chunk : chunk.subarray(at)]
      this.#size = chunk.length - at
    }
  }
}
