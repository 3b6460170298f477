import { Exchange, type HttpRequest } from '../../transport/http1/exchange.ts'

/** One line of a watch. */
export interface WatchEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  object: unknown
}

/** An object of Kubernetes is at most 1.5 MiB (etcd's bound); a line beyond this is no event. */
const LONGEST = 8 << 20
const NEWLINE = 0x0a

/**
 * A stream of events as the API server writes it: one JSON object after the other, a line each. Ends with nothing, with an
 * answer that is no stream, or with what broke it.
 */
export class WatchExchange extends Exchange {
  readonly #onEvent: (event: WatchEvent) => void
  readonly #done: (problem?: Error | { status: number; body: Buffer }) => void
  #status = 0
  #held: Buffer[] = []
  #size = 0

  constructor(
    request: HttpRequest,
    onEvent: (event: WatchEvent) => void,
    done: (problem?: Error | { status: number; body: Buffer }) => void,
  ) {
    super(request)
    this.#onEvent = onEvent
    this.#done = done
  }

  protected head(status: number): void {
    this.#status = status
  }

  protected data(chunk: Buffer): void {
    let from = 0
    if (this.#status === 200) {
      for (let at = chunk.indexOf(NEWLINE); at >= 0; at = chunk.indexOf(NEWLINE, from)) {
        if (!this.#line(chunk.subarray(from, at))) return
        from = at + 1
      }
    }
    if (from === chunk.length) return
    this.#size += chunk.length - from
    if (this.#size > LONGEST) return this.#giveUp(new Error(`an event of more than ${LONGEST} bytes`))
    this.#held.push(chunk.subarray(from))
  }

  protected end(): void {
    if (this.#status !== 200) return this.#done({ status: this.#status, body: Buffer.concat(this.#held) })
    // Some servers leave the last newline out.
    if (this.#size > 0 && !this.#line(Buffer.alloc(0))) return
    this.#done()
  }

  protected failed(error: Error): void {
    this.#done(error)
  }

  #line(rest: Buffer): boolean {
    const line = this.#held.length === 0 ? rest : Buffer.concat([...this.#held, rest])
    this.#held = []
    this.#size = 0
    if (line.length === 0) return true
    try {
      this.#onEvent(JSON.parse(line.toString()) as WatchEvent)
      return true
    } catch (error) {
      this.#giveUp(error instanceof Error ? error : new Error(String(error)))
      return false
    }
  }

  #giveUp(error: Error): void {
    this.abort()
    this.#done(error)
  }
}
