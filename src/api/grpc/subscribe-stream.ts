import type { PubSubBlock } from '../../blocks/pubsub/block.ts'
import { type Delivery, DeliveryError, type Verdict } from '../../blocks/pubsub/event-app.ts'
import { verdictOf } from '../../blocks/pubsub/grpc-event-app.ts'
import { decodeStreamRequest, encodeStreamedEvent, type StreamRequest } from '../../blocks/pubsub/topic-event.ts'
import { Code, messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { frame, seal } from '../../transport/grpc/frames.ts'
import type { GrpcStream } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'

/** SubscribeTopicEventsResponseAlpha1 with an empty `initial_response`. */
const INITIAL_RESPONSE = frame(Buffer.from([10, 0]))
const PREFIX = 5

/** An event on its way: waiting for room in the stream, or sent and waiting for its answer. */
interface Waiting {
  id: string
  framed: Buffer | undefined
  resolve(verdict: Verdict): void
  reject(error: unknown): void
}

/**
 * One stream of events. States: idle (the app has asked for nothing) → subscribing → open → closed.
 * How many events are under way is the driver's to bound: each holds one of its handlers. While the app does not read,
 * they wait here unsent, so that an attempt that a policy gives up and makes again leaves nothing behind in the socket.
 */
export class EventStream {
  readonly #call: GrpcStream
  readonly #pubsub: Pick<PubSubBlock, 'stream'>
  readonly #log: Logger
  readonly #onBusy: () => void
  /** Sent, by event id, the oldest first: two events may carry the same id. */
  readonly #sent = new Map<string, Waiting[]>()
  readonly #unsent = new Set<Waiting>()
  #state: 'idle' | 'subscribing' | 'open' | 'closed' = 'idle'
  /** The app has said that it will send no more. */
  #ended = false
  #room = false
  #what = ''
  #subscription: AsyncDisposable | undefined

  /** @param onBusy called when the stream is idle no more */
  constructor(call: GrpcStream, pubsub: Pick<PubSubBlock, 'stream'>, log: Logger, onBusy: () => void) {
    this.#call = call
    this.#pubsub = pubsub
    this.#log = log
    this.#onBusy = onBusy
    call.onMessage = (message) => this.#receive(message)
    call.onEnd = () => this.#end()
    call.onClose = () => this.#close()
    call.onDrain = () => this.#send()
  }

  /** Ends the stream from our side. */
  close(reason: string): void {
    this.#fail(reason)
  }

  /** As daprd ends it: SDKs that closed their half by mistake connect again on Unknown, and would take OK for the end. */
  #end(): void {
    this.#ended = true
    if (this.#state !== 'subscribing') this.#fail('EOF')
  }

  #fail(reason: string): void {
    this.#call.fail(new GrpcStatus(Code.Unknown, reason))
  }

  #receive(message: Buffer): void {
    let request: StreamRequest | undefined
    try {
      request = decodeStreamRequest(message)
    } catch (error) {
      return this.#call.fail(new GrpcStatus(Code.Internal, `grpc: error unmarshalling request: ${messageOf(error)}`))
    }
    if (this.#state !== 'idle') {
      if (request?.kind === 'processed') this.#settle(request.id, request.status)
      else this.#fail('duplicate initial request received')
    } else if (request?.kind !== 'initial') this.#fail('initial request is required')
    else if (!request.pubsubName) this.#fail('pubsubName is required')
    else if (!request.topic) this.#fail('topic is required')
    else this.#subscribe(request).catch((error: unknown) => this.#call.fail(error))
  }

  async #subscribe(request: StreamRequest & { kind: 'initial' }): Promise<void> {
    this.#state = 'subscribing'
    this.#onBusy()
    this.#what = `pubsub '${request.pubsubName}' topic '${request.topic}'`
    // What the app sends meanwhile waits in its own buffers.
    this.#call.pause()
    const subscription = await this.#pubsub.stream(
      request,
      (delivery, signal) => this.#deliver(delivery, signal),
      () => this.#fail('stream closed'),
    )
    if (this.#isClosed()) return subscription[Symbol.asyncDispose]()
    this.#subscription = subscription
    this.#state = 'open'
    this.#log.info(`Subscribing to ${this.#what}`)
    this.#room = this.#call.write(INITIAL_RESPONSE)
    if (this.#ended) return this.#end()
    this.#call.resume()
    if (this.#room) this.#send()
  }

  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #deliver(delivery: Delivery, signal: AbortSignal | undefined): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      if (this.#state === 'closed') return reject(gone())
      let framed: Buffer
      try {
        framed = seal(encodeStreamedEvent(delivery, PREFIX))
      } catch (error) {
        return reject(new DeliveryError(`error returned from app while processing pub/sub event: ${messageOf(error)}`, { cause: error }))
      }
      const id = typeof delivery.event.id === 'string' ? delivery.event.id : ''
      const onAbort = () => {
        this.#forget(waiting)
        reject(signal?.reason)
      }
      const settled = () => signal?.removeEventListener('abort', onAbort)
      const waiting: Waiting = {
        id,
        framed,
        resolve(verdict) {
          settled()
          resolve(verdict)
        },
        reject(error) {
          settled()
          reject(error)
        },
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#unsent.add(waiting)
      if (this.#room) this.#send()
    })
  }

  /** Sends what waits, while there is room. */
  #send(): void {
    if (this.#state !== 'open') return
    this.#room = true
    for (const waiting of this.#unsent) {
      this.#unsent.delete(waiting)
      const same = this.#sent.get(waiting.id)
      if (same) same.push(waiting)
      else this.#sent.set(waiting.id, [waiting])
      const { framed } = waiting
      waiting.framed = undefined
      this.#room = this.#call.write(framed as Buffer)
      if (!this.#room) return
    }
  }

  #settle(id: string, status: number): void {
    const waiting = this.#sent.get(id)?.[0]
    if (!waiting) return this.#log.error(`no event with id ${id} waits for an answer on the stream of ${this.#what}`)
    this.#forget(waiting)
    try {
      waiting.resolve(verdictOf(status, id, this.#log))
    } catch (error) {
      waiting.reject(error)
    }
  }

  #forget(waiting: Waiting): void {
    this.#unsent.delete(waiting)
    const same = this.#sent.get(waiting.id)
    const index = same?.indexOf(waiting) ?? -1
    if (index < 0) return
    if (same?.length === 1) this.#sent.delete(waiting.id)
    else same?.splice(index, 1)
  }

  /** Whatever ended the call: what the app has not answered goes back to the broker at once, and not as a failure. */
  #close(): void {
    if (this.#state === 'closed') return
    this.#onBusy()
    this.#state = 'closed'
    const subscription = this.#subscription
    // The subscription hears of its end before its handlers hear of the app's.
    subscription?.[Symbol.asyncDispose]().then(
      () => this.#log.info(`Unsubscribed from ${this.#what}`),
      (error: unknown) => this.#log.warn(`ending the subscription to ${this.#what}: ${messageOf(error)}`),
    )
    const left = [...this.#unsent, ...[...this.#sent.values()].flat()]
    this.#unsent.clear()
    this.#sent.clear()
    for (const waiting of left) waiting.reject(gone())
  }
}

function gone(): DeliveryError {
  return new DeliveryError('stream closed', { unreachable: true })
}
