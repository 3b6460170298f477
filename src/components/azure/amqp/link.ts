import { randomUUID } from 'node:crypto'
import { AmqpError } from './errors.ts'
import { ATTACH, DETACH } from './frames.ts'
import type { Session } from './session.ts'
import { uint } from './values.ts'

/** How long a peer may take to confirm the end of a link, milliseconds. */
const GOODBYE = 1000

/** What senders and receivers have in common: attaching → attached → ended, for good. */
export abstract class Link implements AsyncDisposable {
  readonly address: string
  readonly name: string
  readonly closed: Promise<Error>
  protected readonly session: Session
  protected readonly handle: number
  readonly #receives: boolean
  readonly #attached = Promise.withResolvers<void>()
  readonly #onEnd: (error: Error) => void
  #over: Error | undefined
  #up = false
  #leaving = false

  constructor(session: Session, address: string, receives: boolean) {
    this.session = session
    this.address = address
    this.name = `${address}-${randomUUID()}`
    this.#receives = receives
    const { promise, resolve } = Promise.withResolvers<Error>()
    this.closed = promise
    this.#onEnd = resolve
    this.#attached.promise.catch(() => {})
    this.handle = session.add(this)
  }

  get usable(): boolean {
    return this.#up && this.#over === undefined && !this.#leaving
  }

  protected get over(): Error | undefined {
    return this.#over
  }

  /** `fields` of attach after the role: settle modes, source, target … */
  protected attach(fields: readonly unknown[]): void {
    this.session.write(ATTACH, [this.name, uint(this.handle), this.#receives, ...fields])
  }

  /** Resolves when the peer has attached its side; rejects with why it does not, or with the signal's reason, and then the link is gone. */
  async open(signal: AbortSignal): Promise<void> {
    const aborted = () => {
      this.fail(signal.reason as Error)
      this.session.end()
    }
    if (signal.aborted) aborted()
    signal.addEventListener('abort', aborted, { once: true })
    try {
      await this.#attached.promise
    } finally {
      signal.removeEventListener('abort', aborted)
    }
  }

  onAttach(fields: readonly unknown[]): void {
    // No terminus: a detach follows that says why.
    if ((this.#receives ? fields[5] : fields[6]) == null) return
    this.#up = true
    this.#attached.resolve()
  }

  onDetach(error: AmqpError | undefined): void {
    if (!this.#leaving) this.session.write(DETACH, [uint(this.handle), true])
    this.fail(error ?? new AmqpError('amqp:link:detached', `${this.session.connection.address} ended the link to ${this.address}`))
    this.session.end()
  }

  /** It has ended. */
  fail(error: Error): void {
    if (this.#over) return
    this.#over = error
    this.#attached.reject(error)
    this.onFail(error)
    this.#onEnd(error)
  }

  onTransfer(_fields: readonly unknown[], _payload: Buffer): void {}

  abstract onFlow(fields: readonly unknown[]): void
  /** There may be room to send now. */
  pump(): void {}
  protected abstract onFail(error: Error): void

  /** Detaches; resolves when the peer has too, or did not in time. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return
    if (!this.#leaving) {
      this.#leaving = true
      this.session.write(DETACH, [uint(this.handle), true])
    }
    const timer = setTimeout(() => {
      this.fail(new AmqpError('amqp:link:detached', `the link to ${this.address} is closed`))
      this.session.end()
    }, GOODBYE)
    await this.closed
    clearTimeout(timer)
  }
}
