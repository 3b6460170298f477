import { constants, gunzipSync, gzipSync } from 'node:zlib'
import { Code } from '../../errors.ts'
import { allocated } from '../outside-heap.ts'
import { giveBack, isPiece, pieceOf, pieceOfLength } from '../pieces.ts'
import { GrpcStatus } from './status.ts'

/** What our peers may name in grpc-encoding, as grpc-accept-encoding lists it. */
export const ACCEPT_ENCODING = 'identity,gzip'

/** Shorter messages are sent as they are even where the peer takes gzip: its header alone is 18 bytes. */
const WORTH_COMPRESSING = 1024

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

/** A framed message as one compressed with gzip, where that is worth it. */
export function compress(framed: Buffer): Buffer {
  if (framed.length - 5 < WORTH_COMPRESSING || framed[0] !== 0) return framed
  const packed = gzipSync(framed.subarray(5), { level: constants.Z_BEST_SPEED })
  if (packed.length >= framed.length - 5) return framed
  const out = frame(packed)
  out[0] = 1
  return out
}

/** Unpacks one compressed message; never allocates more than about `limit` bytes for it. */
function decompress(packed: Buffer, encoding: string, limit: number, side: 'client' | 'server'): Buffer {
  if (encoding === '' || encoding === 'identity')
    throw new GrpcStatus(Code.Internal, 'grpc: compressed flag set with identity or empty encoding')
  if (encoding !== 'gzip') throw unknownEncoding(encoding, side)
  if (packed.length < 10 || packed[0] !== 0x1f || packed[1] !== 0x8b)
    throw new GrpcStatus(
      Code.Internal,
      `grpc: failed to decompress the message: ${packed.length < 10 ? 'unexpected EOF' : 'gzip: invalid header'}`,
    )
  try {
    return gunzipSync(packed, { maxOutputLength: Math.min(limit, 0x7fffffff) })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ERR_BUFFER_TOO_LARGE')
      throw new GrpcStatus(Code.ResourceExhausted, `grpc: received message after decompression larger than max ${limit}`)
    throw new GrpcStatus(
      Code.Internal,
      `grpc: failed to read decompressed data: ${code === 'Z_BUF_ERROR' ? 'unexpected EOF' : `flate: corrupt input (${code})`}`,
    )
  }
}

/** A server says Unimplemented, which names its own lack; to a client it is the server's mistake. */
export function unknownEncoding(encoding: string, side: 'client' | 'server'): GrpcStatus {
  return new GrpcStatus(
    side === 'server' ? Code.Unimplemented : Code.Internal,
    `grpc: Decompressor is not installed for grpc-encoding ${JSON.stringify(encoding)}`,
  )
}

/** Refuses a message before its bytes are read: past the limit, or of no known format. */
function check(flag: number, length: number, limit: number): void {
  if (length > limit) throw new GrpcStatus(Code.ResourceExhausted, `grpc: received message larger than max (${length} vs. ${limit})`)
  if (flag > 1) throw new GrpcStatus(Code.Internal, `grpc: received unexpected payload format ${flag}`)
}

/**
 * The only message in a chunk that holds it whole and uncompressed, as most requests come: no reader is needed then.
 * undefined: it is not that simple. Throws as FrameReader does.
 */
export function wholeMessage(chunk: Buffer, limit: number): Buffer | undefined {
  if (chunk.length < 5 || chunk[0] !== 0) return undefined
  const length = chunk.readUInt32BE(1)
  check(0, length, limit)
  return chunk.length === length + 5 ? chunk.subarray(5) : undefined
}

/**
 * Cuts a byte stream into gRPC messages and unpacks compressed ones. What it holds of an unfinished message is at most four times
 * what has come, whatever length was announced and however small the pieces are.
 * Throws GrpcStatus for a message past the limit or one that cannot be unpacked; it must get nothing more after that.
 */
export class FrameReader {
  readonly #limit: number
  readonly #onMessage: (message: Buffer) => void
  readonly #encoding: string
  readonly #side: 'client' | 'server'
  readonly #onLength: ((length: number) => void) | undefined
  readonly #lends: boolean
  #held: Buffer = NOTHING
  #size = 0
  #need = 5

  /**
   * @param onLength Hears how long the next message will be, before it has come; may throw.
   * @param lends Long messages are pieces, which whoever takes them gives back or keeps for a moment only.
   */
  constructor(
    limit: number,
    onMessage: (message: Buffer) => void,
    encoding = '',
    side: 'client' | 'server' = 'server',
    onLength?: (length: number) => void,
    lends = false,
  ) {
    this.#limit = limit
    this.#onMessage = onMessage
    this.#encoding = encoding
    this.#side = side
    this.#onLength = onLength
    this.#lends = lends
  }

  /** Whether a message has begun and not ended. */
  get partial(): boolean {
    return this.#size > 0
  }

  /** Whether the prefix of a message is there and its end is not. */
  get insideMessage(): boolean {
    return this.#size >= 5
  }

  /** The chunk is the reader's. */
  push(chunk: Buffer): void {
    // Several messages may be in it, whose takers do not know of each other.
    const piece = isPiece(chunk)
    this.#read(chunk, piece)
    if (piece) giveBack(chunk)
  }

  #read(chunk: Buffer, piece: boolean): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#size === 0) {
        this.#need = 5
        if (chunk.length - at >= 5) {
          const end = at + this.#length(chunk, at)
          if (end <= chunk.length) {
            if (piece) this.#emit(pieceOf(chunk.subarray(at, end)), 0, end - at)
            else this.#emit(chunk, at, end)
            at = end
            continue
          }
          this.#need = end - at
        }
      }
      const taken = Math.min(this.#need - this.#size, chunk.length - at)
      this.#hold(chunk, at, taken)
      at += taken
      if (this.#size < this.#need) return
      if (this.#size === 5) this.#need = this.#length(this.#held, 0)
      if (this.#size < this.#need) continue
      const held = this.#held
      this.#held = NOTHING
      this.#size = 0
      this.#emit(held, 0, this.#need)
    }
  }

  /** Bytes of the message whose prefix stands at `at`, prefix included. */
  #length(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at + 1)
    check(bytes[at] as number, length, this.#limit)
    this.#onLength?.(length)
    return length + 5
  }

  #hold(chunk: Buffer, at: number, count: number): void {
    const size = this.#size + count
    if (size > this.#held.length) {
      const larger = this.#room(Math.max(size, Math.min(this.#need, Math.max(4096, size * 4))))
      this.#held.copy(larger, 0, 0, this.#size)
      giveBack(this.#held)
      this.#held = larger
    }
    chunk.copy(this.#held, this.#size, at, at + count)
    this.#size = size
  }

  #room(length: number): Buffer {
    if (this.#lends) return pieceOfLength(length)
    allocated(length)
    return Buffer.allocUnsafe(length)
  }

  #emit(bytes: Buffer, start: number, end: number): void {
    const message = bytes.subarray(start + 5, end)
    this.#onMessage(bytes[start] === 0 ? message : decompress(message, this.#encoding, this.#limit, this.#side))
  }
}

const NOTHING = Buffer.alloc(0)
