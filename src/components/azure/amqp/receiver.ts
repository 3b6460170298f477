import { AmqpError } from './errors.ts'
import { ACCEPTED, codeOf, DISPOSITION, errorIn, errorOf, fieldsOf, MODIFIED, REJECTED, RELEASED, SOURCE, TARGET } from './frames.ts'
import { Link } from './link.ts'
import { decodeMessage } from './message.ts'
import type { Session } from './session.ts'
import type { AmqpDelivery, AmqpMessage, AmqpReceiver, ReceiverOptions } from './types.ts'
import { Described, described, symbol, Typed, uint } from './values.ts'

/** Bytes of one message. */
const LARGEST = 128 * 2 ** 20

/** See AmqpReceiver. */
export class Receiver extends Link implements AmqpReceiver {
  readonly #options: ReceiverOptions
  #credit: number
  #count = 0
  #draining = false
  #drained: (() => void)[] = []
  #incomplete: { id: number; tag: Buffer; settled: boolean; parts: Buffer[]; size: number } | undefined
  #filters: Readonly<Record<string, unknown>> = {}
  #properties: Readonly<Record<string, unknown>> = {}

  constructor(session: Session, address: string, options: ReceiverOptions, to?: string) {
    super(session, address, true)
    this.#options = options
    this.#credit = options.credit
    const { filters, properties, desiredCapabilities, presettled, settle } = options
    const filter = filters && new Typed('symbolic-map', filters)
    const source = described(SOURCE, [address, ...Array(6).fill(undefined), filter])
    const target = described(TARGET, [to])
    const sent = new Typed('ubyte', presettled ? 1 : 0)
    const settles = new Typed('ubyte', settle === 'first' || presettled ? 0 : 1)
    const desired = desiredCapabilities && new Typed('symbols', desiredCapabilities)
    const link = properties && new Typed('symbolic-map', properties)
    this.attach([sent, settles, source, target, undefined, undefined, undefined, undefined, undefined, desired, link])
  }

  get credit(): number {
    return this.#credit
  }

  get remoteFilters(): Readonly<Record<string, unknown>> {
    return this.#filters
  }

  get remoteProperties(): Readonly<Record<string, unknown>> {
    return this.#properties
  }

  grant(count: number): void {
    this.#credit += count
    if (this.usable) this.#tell()
  }

  async drain(signal: AbortSignal): Promise<void> {
    if (!this.usable || this.#credit === 0) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#drained.push(resolve)
    this.#draining = true
    this.#tell()
    const aborted = () => reject(signal.reason)
    if (signal.aborted) aborted()
    signal.addEventListener('abort', aborted, { once: true })
    try {
      await promise
    } finally {
      signal.removeEventListener('abort', aborted)
    }
  }

  override onAttach(fields: readonly unknown[]): void {
    const filter = fieldsOf(fields[5])[7]
    const plain = (value: unknown) => (value instanceof Described ? value.value : value)
    if (typeof filter === 'object' && filter !== null)
      this.#filters = Object.fromEntries(Object.entries(filter).map(([name, value]) => [name, plain(value)]))
    if (typeof fields[13] === 'object' && fields[13] !== null) this.#properties = fields[13] as Record<string, unknown>
    this.#count = Number(fields[9] ?? 0)
    super.onAttach(fields)
    if (this.#credit > 0 && this.usable) this.#tell()
  }

  onFlow(fields: readonly unknown[]): void {
    const [, , , , , count, credit, , drain, echo] = fields
    if (this.#draining && drain === true && Number(credit ?? 0) === 0) {
      this.#draining = false
      this.#count = Number(count ?? this.#count)
      this.#credit = 0
      for (const resolve of this.#drained.splice(0)) resolve()
    } else if (echo === true) this.#tell()
  }

  override onTransfer(fields: readonly unknown[], payload: Buffer): void {
    const [, id, tag, , settled, more, , , , aborted] = fields
    this.#incomplete ??= { id: Number(id), tag: Buffer.isBuffer(tag) ? tag : Buffer.alloc(0), settled: false, parts: [], size: 0 }
    const one = this.#incomplete
    one.settled ||= settled === true
    one.parts.push(payload)
    one.size += payload.length
    if (one.size > LARGEST) throw new RangeError(`a message of more than ${LARGEST} bytes`)
    if (more === true && aborted !== true) return
    this.#incomplete = undefined
    this.#credit--
    this.#count = (this.#count + 1) >>> 0
    if (aborted === true) return
    const bytes = one.parts.length === 1 ? payload : Buffer.concat(one.parts, one.size)
    const delivery = new Delivery(this, this.session, one.id, one.tag, decodeMessage(bytes), this.#options.settle === 'first', one.settled)
    this.#options.onMessage(delivery)
  }

  #tell(): void {
    this.session.flow([uint(this.handle), uint(this.#count), uint(this.#credit), undefined, this.#draining])
  }

  protected onFail(): void {
    this.#incomplete = undefined
    for (const resolve of this.#drained.splice(0)) resolve()
  }
}

/** See AmqpDelivery. Its outcome is said once; a second one is a mistake of the caller. */
class Delivery implements AmqpDelivery {
  readonly receiver: Receiver
  readonly tag: Buffer
  readonly message: AmqpMessage
  readonly #session: Session
  readonly #id: number
  readonly #first: boolean
  #settled: boolean

  constructor(receiver: Receiver, session: Session, id: number, tag: Buffer, message: AmqpMessage, first: boolean, settled: boolean) {
    this.receiver = receiver
    this.#session = session
    this.#id = id
    this.tag = tag
    this.message = message
    this.#first = first
    this.#settled = settled
  }

  accept(signal?: AbortSignal): Promise<void> {
    return this.#settle(described(ACCEPTED, []), signal)
  }

  release(signal?: AbortSignal): Promise<void> {
    return this.#settle(described(RELEASED, []), signal)
  }

  reject(
    { condition, description, info }: { condition: string; description?: string; info?: Readonly<Record<string, unknown>> },
    signal?: AbortSignal,
  ): Promise<void> {
    const known = info && new Typed('symbolic-map', info)
    return this.#settle(described(REJECTED, [errorOf(symbol(condition), description, known)]), signal)
  }

  modify(
    change: { deliveryFailed?: boolean; undeliverableHere?: boolean; annotations?: Readonly<Record<string, unknown>> },
    signal?: AbortSignal,
  ): Promise<void> {
    const { deliveryFailed, undeliverableHere, annotations } = change
    const known = annotations && new Typed('symbolic-map', annotations)
    return this.#settle(described(MODIFIED, [deliveryFailed, undeliverableHere, known]), signal)
  }

  #settle(state: Described, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    if (this.#settled) {
      resolve()
      return promise
    }
    if (!this.receiver.usable) {
      reject(this.#session.connection.reason ?? new AmqpError('amqp:link:detached', `the link to ${this.receiver.address} is closed`))
      return promise
    }
    this.#settled = true
    const id = uint(this.#id)
    this.#session.write(DISPOSITION, [true, id, id, this.#first, state])
    if (this.#first) {
      resolve()
      return promise
    }
    const aborted = () => reject(signal?.reason)
    if (signal?.aborted) aborted()
    signal?.addEventListener('abort', aborted, { once: true })
    const { received } = this.#session
    received.set(this.#id, {
      onLost: reject,
      onState: (answer, settled) => {
        if (!settled) return
        received.delete(this.#id)
        // A refusal in place of what was said, e.g. since the lock is lost.
        const error = codeOf(answer) === REJECTED && codeOf(state) !== REJECTED ? errorIn(fieldsOf(answer)[0]) : undefined
        if (error) reject(error)
        else resolve()
      },
    })
    const done = () => signal?.removeEventListener('abort', aborted)
    promise.then(done, done)
    return promise
  }
}
