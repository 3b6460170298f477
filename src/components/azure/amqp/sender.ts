import { AmqpError } from './errors.ts'
import { ACCEPTED, codeOf, DISPOSITION, errorIn, fieldsOf, MODIFIED, RECEIVED, REJECTED, RELEASED, SOURCE, TARGET } from './frames.ts'
import { Link } from './link.ts'
import { encodeMessage } from './message.ts'
import type { Session } from './session.ts'
import type { AmqpMessage, AmqpSender, EncodedMessage, SenderOptions } from './types.ts'
import { described, Typed, uint } from './values.ts'

const IN_FLIGHT = 512
const MOST_IN_FLIGHT = 2000
/** Bytes of a transfer frame that are not the message. */
const FRAME_HEAD = 64

interface Outgoing extends EncodedMessage {
  tag: Buffer
  resolve(): void
  reject(error: Error): void
}

/** See AmqpSender. Waiting (bounded by the callers) → sent, in flight → settled. */
export class Sender extends Link implements AmqpSender {
  readonly #inFlight: number
  readonly #waiting: Outgoing[] = []
  readonly #sent = new Set<Outgoing>()
  #credit = 0
  #count = 0
  #tags = 0
  #maxMessageSize: number | undefined
  /** One that the peer's window has cut off: what of it is left. */
  #partial: { one: Outgoing; id: number; at: number } | undefined

  constructor(session: Session, address: string, { inFlight = IN_FLIGHT, properties }: SenderOptions, from?: string) {
    super(session, address, false)
    this.#inFlight = Math.min(inFlight, MOST_IN_FLIGHT)
    const source = described(SOURCE, [from])
    const target = described(TARGET, [address])
    const link = properties && new Typed('symbolic-map', properties)
    const unsettled = new Typed('ubyte', 0)
    this.attach([unsettled, unsettled, source, target, undefined, undefined, uint(0), undefined, undefined, undefined, link])
  }

  get maxMessageSize(): number | undefined {
    return this.#maxMessageSize
  }

  send(message: AmqpMessage | EncodedMessage, signal?: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    if (this.over) {
      reject(this.over)
      return promise
    }
    if (signal?.aborted) {
      reject(signal.reason)
      return promise
    }
    const { bytes, format } = 'bytes' in message ? message : encodeMessage(message)
    const tag = Buffer.allocUnsafe(4)
    tag.writeUInt32BE(this.#tags++ >>> 0)
    const one = { bytes, format, tag, resolve, reject }
    this.#waiting.push(one)
    if (signal) {
      const aborted = () => {
        const at = this.#waiting.indexOf(one)
        if (at !== -1) this.#waiting.splice(at, 1)
        reject(signal.reason)
      }
      signal.addEventListener('abort', aborted, { once: true })
      const done = () => signal.removeEventListener('abort', aborted)
      promise.then(done, done)
    }
    this.pump()
    return promise
  }

  override onAttach(fields: readonly unknown[]): void {
    const size = Number(fields[10] ?? 0)
    this.#maxMessageSize = size > 0 && size <= Number.MAX_SAFE_INTEGER ? size : undefined
    super.onAttach(fields)
  }

  onFlow(fields: readonly unknown[]): void {
    const [, , , , , count, credit, , drain, echo] = fields
    this.#credit = (Number(count ?? 0) + Number(credit ?? 0) - this.#count) | 0
    if (drain === true && this.#waiting.length === 0 && this.#credit > 0) {
      this.#count = (this.#count + this.#credit) >>> 0
      this.#credit = 0
      this.#tell()
    } else if (echo === true) this.#tell()
  }

  override pump(): void {
    const room = this.session.connection.maxFrame - FRAME_HEAD
    while (this.session.room > 0 && this.over === undefined) {
      if (!this.#partial) {
        if (this.#credit <= 0 || this.#sent.size >= this.#inFlight) return
        const one = this.#waiting.shift()
        if (!one) return
        this.#credit--
        this.#count = (this.#count + 1) >>> 0
        const id = this.session.deliveryId()
        this.#sent.add(one)
        this.session.sent.set(id, { onState: (state, settled) => this.#onState(id, one, state, settled), onLost: one.reject })
        this.#partial = { one, id, at: 0 }
      }
      const { one, id, at } = this.#partial
      const end = Math.min(one.bytes.length, at + room)
      const more = end < one.bytes.length
      this.session.transfer([uint(this.handle), uint(id), one.tag, uint(one.format), false, more], one.bytes.subarray(at, end))
      if (more) this.#partial.at = end
      else this.#partial = undefined
    }
  }

  #tell(): void {
    this.session.flow([uint(this.handle), uint(this.#count), uint(this.#credit)])
  }

  #onState(id: number, one: Outgoing, state: unknown, settled: boolean): void {
    const code = codeOf(state)
    if (!settled && (code === undefined || code === RECEIVED)) return
    this.session.sent.delete(id)
    this.#sent.delete(one)
    if (!settled) this.session.write(DISPOSITION, [false, uint(id), uint(id), true])
    if (code === ACCEPTED || code === undefined) one.resolve()
    else one.reject(this.#refusal(code, state))
    this.pump()
  }

  #refusal(code: number, state: unknown): AmqpError {
    if (code === REJECTED) return errorIn(fieldsOf(state)[0]) ?? new AmqpError('amqp:rejected', `${this.address} rejected the message`)
    const word = code === RELEASED ? 'released' : code === MODIFIED ? 'modified' : `outcome-${code}`
    return new AmqpError(`amqp:${word}`, `${this.address} did not take the message (${word})`)
  }

  protected onFail(error: Error): void {
    for (const one of [...this.#sent, ...this.#waiting.splice(0)]) one.reject(error)
    this.#sent.clear()
  }
}
