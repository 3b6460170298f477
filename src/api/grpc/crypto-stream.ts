import { messageOf } from '../../errors.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStream } from '../../transport/grpc/server.ts'

/**
 * The messages of a call as a stream that is read at the reader's pace: while one waits the sender is held back, so no more lie here
 * than came in one network chunk. Ends when the client has sent everything; throws the reason when the call ends before.
 */
export class Inbox implements AsyncIterator<Buffer> {
  readonly #call: GrpcStream
  #waiting: Buffer[] = []
  #ended = false
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(call: GrpcStream) {
    this.#call = call
    call.onMessage = (message) => {
      this.#waiting.push(message)
      call.pause()
      this.#wake?.()
    }
    call.onEnd = () => {
      this.#ended = true
      this.#wake?.()
    }
  }

  /** The call is over: nothing more can come. */
  close(reason: Error): void {
    if (this.#ended) return
    this.#failure = reason
    this.#waiting = []
    this.#wake?.()
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    for (;;) {
      const message = this.#waiting.shift()
      if (message) return { done: false, value: message }
      if (this.#failure) throw this.#failure
      if (this.#ended) return { done: true, value: undefined }
      const came = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#call.resume()
      await came
    }
  }
}

/** The first message, or undefined when there is none; rejects when it does not come within `limit` milliseconds. */
export async function firstMessage(inbox: Inbox, limit: number): Promise<Buffer | undefined> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new LateError()), limit)
  try {
    const first = await Promise.race([inbox.next(), late.promise])
    return first.done ? undefined : first.value
  } finally {
    clearTimeout(timer)
  }
}

export class LateError extends Error {
  override readonly name = 'LateError'
  constructor() {
    super('error waiting for first message: context deadline exceeded')
  }
}

interface Piece {
  options?: unknown
  payload?: { data: Buffer; seq: number } | undefined
}

/** The payloads of a call, in their order: that of its first message, then those that follow. Throws at a wrong number. */
export async function* payloads(first: Piece, inbox: Inbox, decode: (message: Buffer) => Piece): AsyncGenerator<Buffer> {
  let expected = 0
  for (let piece = first; ; ) {
    if (piece.payload) {
      const { data, seq } = piece.payload
      if (seq !== expected) throw new Error(`invalid sequence number received: ${seq} (expected: ${expected})`)
      expected++
      if (data.length > 0) yield data
    }
    const next = await inbox.next().catch((error: unknown) => {
      throw new Error(`error receiving message: ${messageOf(error)}`, { cause: error })
    })
    if (next.done) return
    piece = decode(next.value)
    if (piece.options !== undefined) throw new Error('options found in non-leading message')
  }
}

/** Sends one message; resolves when there is room for the next one. */
export function send(call: GrpcStream, message: Buffer): Promise<void> | undefined {
  if (call.write(frame(message))) return undefined
  return new Promise((resolve) => {
    call.onDrain = resolve
  })
}
