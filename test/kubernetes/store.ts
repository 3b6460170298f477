import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'

/** An object of the API, as JSON has it. */
export interface ApiObject {
  apiVersion?: string
  kind?: string
  metadata: {
    name: string
    namespace?: string
    uid?: string
    resourceVersion?: string
    generation?: number
    generateName?: string
    creationTimestamp?: string | null
    labels?: Record<string, string>
    annotations?: Record<string, string>
    ownerReferences?: { apiVersion: string; kind: string; name: string; uid: string; controller?: boolean }[]
  }
  // biome-ignore lint/suspicious/noExplicitAny: the stand-in keeps what it is given; who reads a member knows its shape.
  [member: string]: any
}

export interface StoreEvent {
  readonly version: number
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  /** `group/plural`. */
  readonly collection: string
  readonly object: ApiObject
}

/** A refusal with its HTTP status. */
export class StoreError extends Error {
  readonly status: number
  readonly reason: string
  constructor(status: number, reason: string, message: string) {
    super(message)
    this.status = status
    this.reason = reason
  }
}

/** Events that a watch may go back to; older ones are answered with 410, as etcd's compaction makes it. */
const KEPT = 1000

/** All objects, with one counter of versions for them all, as etcd has. */
export class ObjectStore {
  #version = 1
  readonly #collections = new Map<string, Map<string, ApiObject>>()
  readonly #events: StoreEvent[] = []
  readonly #listeners = new Set<(event: StoreEvent) => void>()

  get version(): number {
    return this.#version
  }

  list(collection: string): ApiObject[] {
    return [...(this.#collections.get(collection)?.values() ?? [])]
  }

  get(collection: string, namespace: string | undefined, name: string): ApiObject | undefined {
    return this.#collections.get(collection)?.get(keyOf(namespace, name))
  }

  create(collection: string, object: ApiObject): ApiObject {
    const { metadata } = object
    const taken = (name: string) => this.get(collection, metadata.namespace, name) !== undefined
    const drawn = () => metadata.generateName + randomUUID().slice(0, 5)
    let name = metadata.name || (metadata.generateName ? drawn() : '')
    // As API servers do since 1.30.
    while (!metadata.name && name && taken(name)) name = drawn()
    if (name === '') throw new StoreError(422, 'Invalid', 'metadata.name: Required value: name or generateName is required')
    if (taken(name)) throw new StoreError(409, 'AlreadyExists', `${collection} "${name}" already exists`)
    const made = {
      ...object,
      metadata: { ...metadata, name, uid: randomUUID(), generation: 1, creationTimestamp: new Date().toISOString().replace(/\.\d+/, '') },
    }
    return this.#put('ADDED', collection, made)
  }

  /** With a resourceVersion only if that is still the current one. */
  update(collection: string, object: ApiObject): ApiObject {
    const { metadata } = object
    const old = this.get(collection, metadata.namespace, metadata.name)
    if (!old) throw new StoreError(404, 'NotFound', `${collection} "${metadata.name}" not found`)
    if (metadata.resourceVersion && metadata.resourceVersion !== old.metadata.resourceVersion)
      throw new StoreError(
        409,
        'Conflict',
        `Operation cannot be fulfilled on ${collection} "${metadata.name}": the object has been modified; please apply your changes to the latest version and try again`,
      )
    const changed = !isDeepStrictEqual(old.spec, object.spec)
    const kept = { uid: old.metadata.uid, creationTimestamp: old.metadata.creationTimestamp, resourceVersion: old.metadata.resourceVersion }
    const next = { ...object, metadata: { ...metadata, ...kept, generation: (old.metadata.generation ?? 1) + (changed ? 1 : 0) } }
    // Nothing changed: nothing happens.
    return isDeepStrictEqual(next, old) ? old : this.#put('MODIFIED', collection, next as ApiObject)
  }

  delete(collection: string, namespace: string | undefined, name: string): ApiObject {
    const old = this.get(collection, namespace, name)
    if (!old) throw new StoreError(404, 'NotFound', `${collection} "${name}" not found`)
    this.#collections.get(collection)?.delete(keyOf(namespace, name))
    const version = ++this.#version
    const gone = { ...old, metadata: { ...old.metadata, resourceVersion: String(version) } }
    this.#tell({ version, type: 'DELETED', collection, object: gone })
    // What it owned goes with it.
    for (const [other, objects] of this.#collections)
      for (const each of [...objects.values()])
        if (each.metadata.ownerReferences?.some(({ uid }) => uid === old.metadata.uid))
          this.delete(other, each.metadata.namespace, each.metadata.name)
    return gone
  }

  /** Events after a version, then those to come, until disposed. Throws 410 when the version is too old. */
  follow(after: number, onEvent: (event: StoreEvent) => void): Disposable {
    if (after > 0 && (this.#events[0]?.version ?? 0) > after + 1 && this.#events.length >= KEPT)
      throw new StoreError(410, 'Expired', `too old resource version: ${after} (${this.#events[0]?.version})`)
    for (const event of this.#events) if (event.version > after) onEvent(event)
    this.#listeners.add(onEvent)
    return { [Symbol.dispose]: () => void this.#listeners.delete(onEvent) }
  }

  #put(type: 'ADDED' | 'MODIFIED', collection: string, object: ApiObject): ApiObject {
    const version = ++this.#version
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } }
    const objects = this.#collections.get(collection) ?? new Map<string, ApiObject>()
    this.#collections.set(collection, objects)
    objects.set(keyOf(stored.metadata.namespace, stored.metadata.name), stored)
    this.#tell({ version, type, collection, object: stored })
    return stored
  }

  #tell(event: StoreEvent): void {
    this.#events.push(event)
    if (this.#events.length > KEPT) this.#events.shift()
    for (const listener of this.#listeners) listener(event)
  }
}

const keyOf = (namespace: string | undefined, name: string) => `${namespace ?? ''}/${name}`
