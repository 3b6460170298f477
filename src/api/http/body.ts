import type { IncomingMessage } from 'node:http'
import { Code, OutriderError } from '../../errors.ts'
import { COUNTED, type HeldBody } from '../../transport/body-budget.ts'
import { IncomingMessage as NodeIncomingMessage } from '../../transport/node-http.ts'
import { allocated } from '../../transport/outside-heap.ts'

/** How long a body may stay silent before it is shed, milliseconds. */
const STALL = 15_000
/** Bytes of a declared body that is read into one piece of memory: as large as what the allocator maps, and not any number. */
const LARGE = 128 * 1024
const MOST_AT_ONCE = 2 ** 28

function tooLarge(limit: number): OutriderError {
  return new OutriderError({
    code: 'ERR_BODY_READ',
    http: 413,
    grpc: Code.ResourceExhausted,
    message: `failed to read request body: http: request body too large`,
    hint: `The body is larger than ${limit} bytes; raise --max-body-size to accept it.`,
  })
}

/**
 * Reads a whole body, at most `limit` bytes (0: no limit).
 * Rejects with 413 past the limit, 408 when the client stops half-way for 15 s, 429 when there is no room for it in `hold`, which
 * is made for large bodies and those of unknown length only.
 */
export function readBody(request: IncomingMessage, limit: number, hold?: () => HeldBody): Promise<Buffer> {
  const declared = Number(request.headers['content-length'] ?? Number.NaN)
  if (limit > 0 && declared > limit) return Promise.reject(tooLarge(limit))
  if (declared === 0 || (Number.isNaN(declared) && request.headers['transfer-encoding'] === undefined && request.httpVersionMajor === 1))
    return Promise.resolve(EMPTY)
  if (declared < COUNTED || !hold) return readWhole(request, limit, undefined)
  const held = hold()
  try {
    if (!Number.isNaN(declared)) held.grow(declared)
  } catch (error) {
    return Promise.reject(error)
  }
  return readWhole(request, limit, held)
}

/** Reads what nobody wants, so that the client can come to its end and read the answer. */
export function dropBody(request: IncomingMessage): void {
  if (request.listenerCount('data') === 0) request.on('data', dropped)
  request.resume()
}

function dropped(chunk: Buffer): void {
  allocated(chunk.length)
}

const EMPTY = Buffer.alloc(0)

/**
 * Most bodies come in one packet with their head: they are there as soon as the parser is through with it, which is before
 * any microtask, and need neither listeners nor a timer.
 */
async function readWhole(request: IncomingMessage, limit: number, held: HeldBody | undefined): Promise<Buffer> {
  await undefined
  // A body that middleware changes comes through a stream of its own.
  if (!request.complete || request.httpVersionMajor !== 1 || !(request instanceof NodeIncomingMessage))
    return readPieces(request, limit, held, Number(request.headers['content-length'] ?? 0))
  const body = (request.read() as Buffer | null) ?? EMPTY
  if (limit > 0 && body.length > limit) throw tooLarge(limit)
  held?.grow(body.length)
  return body
}

function readPieces(request: IncomingMessage, limit: number, held: HeldBody | undefined, declared: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    // In one piece, which goes back to the system when it is collected; thousands of small ones would leave the allocator's heap
    // in tatters. Nothing of it is there before it is written.
    let whole = declared >= LARGE && declared <= MOST_AT_ONCE ? Buffer.allocUnsafeSlow(declared) : undefined
    let size = 0
    let over = false
    const shed = () => {
      fail(
        new OutriderError({
          code: 'ERR_BODY_READ',
          http: 408,
          grpc: Code.DeadlineExceeded,
          message: `failed to read request body: nothing received for ${STALL / 1000}s`,
          hint: 'Send the whole body, or close the request.',
        }),
      )
      request.destroy()
    }
    const stalled = setTimeout(() => {
      const before = size
      // A turn later: when we are the ones who are late, what the client has sent waits to be read.
      setImmediate(() => {
        if (over) return
        if (size === before) shed()
        else stalled.refresh()
      })
    }, STALL)
    const fail = (error: Error) => {
      over = true
      clearTimeout(stalled)
      request.removeListener('data', take)
      chunks.length = 0
      whole = undefined
      dropBody(request)
      reject(error)
    }
    const take = (chunk: Buffer) => {
      allocated(chunk.length)
      const before = size
      size += chunk.length
      if (limit > 0 && size > limit) return fail(tooLarge(limit))
      try {
        held?.grow(size)
      } catch (error) {
        return fail(error as Error)
      }
      if (whole && size > whole.length) {
        // Middleware made it longer than it was.
        chunks.push(whole.subarray(0, before))
        whole = undefined
      }
      if (whole) chunk.copy(whole, before)
      else chunks.push(chunk)
      stalled.refresh()
    }
    request.on('data', take)
    request.once('end', () => {
      over = true
      clearTimeout(stalled)
      // It will be put together, decoded, and encoded for a component.
      allocated(size * 3)
      if (whole) resolve(whole.subarray(0, size))
      else resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, size))
    })
    request.once('error', (error) =>
      fail(
        new OutriderError({
          code: 'ERR_BODY_READ',
          http: 400,
          grpc: Code.InvalidArgument,
          message: `failed to read request body: ${error.message}`,
          cause: error,
        }),
      ),
    )
    request.once('close', () => {
      if (!request.complete)
        fail(
          new OutriderError({
            code: 'ERR_BODY_READ',
            http: 400,
            grpc: Code.InvalidArgument,
            message: 'failed to read request body: unexpected EOF',
          }),
        )
    })
  })
}
