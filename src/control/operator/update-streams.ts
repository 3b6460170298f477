import { Code, messageOf } from '../../errors.ts'
import { EventType, type FollowedName, followedKind } from '../../resources/operator/messages.ts'
import type { Logger } from '../../telemetry/log.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { GrpcStream } from '../../transport/grpc/server.ts'
import { GrpcStatus } from '../../transport/grpc/status.ts'
import type { Informer, InformerChange, KubeObject } from '../informer.ts'

/** Resources that may wait for one slow sidecar; beyond, its stream ends, and it reads all of them anew. */
const MOST_WAITING = 1000

/** For whom a resource is. */
export function isFor(object: KubeObject, appId: string): boolean {
  const { scopes } = object as { scopes?: string[] | null }
  return !scopes || scopes.length === 0 || scopes.includes(appId)
}

export interface Subscriber {
  readonly namespace: string
  readonly appId: string
  /** Further conditions. */
  readonly wants?: (object: KubeObject) => boolean
  readonly stream: GrpcStream
}

/** One for each stream of a thousand sidecars: it is kept small. */
interface Waiting {
  /** By resource, the last thing that happened to it; undefined: all of it has gone out. */
  frames: Map<string, Buffer> | undefined
  blocked: boolean
}

/** Sends the changes of one kind to the sidecars that listen. Each is made ready once, however many they are. */
export class UpdateStreams {
  readonly #kind: FollowedName
  readonly #prepare: (object: KubeObject) => Promise<KubeObject>
  readonly #log: Logger
  readonly #subscribers = new Map<Subscriber, Waiting>()
  /** Of the server that all streams belong to. */
  #draining: AbortSignal | undefined
  /** Changes go out in the order in which they came, even when secrets are slow. */
  #tail: Promise<void> = Promise.resolve()

  /** @param prepare puts secrets into a resource; rejects when one is missing. */
  constructor(
    kind: FollowedName,
    informer: Pick<Informer, 'subscribe'>,
    prepare: (object: KubeObject) => Promise<KubeObject>,
    log: Logger,
  ) {
    this.#kind = kind
    this.#prepare = prepare
    this.#log = log
    informer.subscribe((change) => {
      if (this.#subscribers.size > 0) this.#tail = this.#tail.then(() => this.#send(change))
    })
  }

  get size(): number {
    return this.#subscribers.size
  }

  /** Until the stream is over. */
  add(subscriber: Subscriber): void {
    const { stream } = subscriber
    const waiting: Waiting = { frames: undefined, blocked: false }
    if (!this.#draining) {
      this.#draining = stream.draining
      stream.draining.addEventListener('abort', () => this.#end(), { once: true })
    }
    this.#subscribers.set(subscriber, waiting)
    stream.onClose = () => void this.#subscribers.delete(subscriber)
    stream.onDrain = () => drained(stream, waiting)
    if (stream.draining.aborted) stream.end()
  }

  #end(): void {
    for (const { stream } of [...this.#subscribers.keys()]) stream.end()
  }

  async #send(change: InformerChange<KubeObject>): Promise<void> {
    const { object } = change
    const before = change.type === 'updated' ? change.before : undefined
    const namespace = object.metadata.namespace
    const listening = [...this.#subscribers].filter(([subscriber]) => subscriber.namespace === namespace)
    if (listening.length === 0) return
    // Each variant is encoded once.
    const made = new Map<string, Promise<Buffer | undefined>>()
    const variant = (type: number, of: KubeObject): Promise<Buffer | undefined> => {
      const key = `${type}/${of === object}`
      const known = made.get(key) ?? this.#encode(type, of)
      made.set(key, known)
      return known
    }
    for (const [subscriber, waiting] of listening) {
      if (subscriber.wants?.(object) === false) continue
      const now = isFor(object, subscriber.appId)
      const then = before !== undefined && isFor(before, subscriber.appId)
      let framed: Buffer | undefined
      if (change.type === 'deleted') framed = now ? await variant(EventType.DELETED, object) : undefined
      else if (now) framed = await variant(before && then ? EventType.UPDATED : EventType.CREATED, object)
      else if (then && before) framed = await variant(EventType.DELETED, before)
      if (framed) write(subscriber.stream, waiting, `${object.kind}/${object.metadata.name}`, framed)
    }
  }

  async #encode(type: number, object: KubeObject): Promise<Buffer | undefined> {
    try {
      const resource = Buffer.from(JSON.stringify(type === EventType.DELETED ? object : await this.#prepare(object)))
      return frame(followedKind(this.#kind).updates.event.encode({ resource, type }))
    } catch (error) {
      const { namespace, name } = object.metadata
      this.#log.error(`a change of the ${object.kind ?? this.#kind} ${namespace}/${name} is not told to sidecars: ${messageOf(error)}`)
      return undefined
    }
  }
}

function drained(stream: GrpcStream, waiting: Waiting): void {
  waiting.blocked = false
  for (const [name, framed] of waiting.frames ?? []) {
    waiting.frames?.delete(name)
    if (!stream.write(framed)) {
      waiting.blocked = true
      return
    }
  }
  waiting.frames = undefined
}

function write(stream: GrpcStream, waiting: Waiting, name: string, framed: Buffer): void {
  if (!waiting.blocked) {
    waiting.blocked = !stream.write(framed)
    return
  }
  // Later than what happened to others meanwhile.
  waiting.frames ??= new Map()
  waiting.frames.delete(name)
  waiting.frames.set(name, framed)
  if (waiting.frames.size > MOST_WAITING)
    stream.fail(new GrpcStatus(Code.Unavailable, 'the stream is read too slowly; open it again and list the resources'))
}
