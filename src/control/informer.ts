import { isDeepStrictEqual } from 'node:util'
import { type Cluster, ClusterError } from '../components/kubernetes/cluster.ts'
import type { WatchEvent } from '../components/kubernetes/watch-exchange.ts'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'
import { pause } from '../waiting.ts'

/** An object as the API has it. */
export interface KubeObject {
  apiVersion?: string
  kind?: string
  metadata: {
    name: string
    namespace?: string
    uid?: string
    resourceVersion?: string
    annotations?: Record<string, string>
    labels?: Record<string, string>
    managedFields?: unknown
  }
  spec?: unknown
}

export interface InformerOptions<T> {
  cluster: Cluster
  /** Of the collection, e.g. `/apis/dapr.io/v1alpha1/components`. */
  path: string
  /** Selectors and the like. */
  query?: Readonly<Record<string, string>>
  /** What is kept of an object; undefined: nothing. Default: all of it but managedFields. */
  keep?: (object: KubeObject) => T | undefined
  /** Their metadata alone is asked for. */
  metadataOnly?: boolean
  log: Logger
}

export type InformerChange<T> =
  | { readonly type: 'added' | 'deleted'; readonly object: T }
  | { readonly type: 'updated'; readonly object: T; readonly before: T }

const METADATA = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json'
const METADATA_WATCH = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json'
/** Objects of one page of a list. */
const PAGE = 500
/** The API server ends a watch after so many seconds; a stream that stays silent longer is dead. */
const WATCH_SECONDS = 300
// As the reflectors of Kubernetes itself begin with.
const FIRST_WAIT = 800
const LONGEST_WAIT = 30_000
/** A watch that ends sooner than this without a word was no watch: its list is asked for again. */
const SHORT = 1000
/** Between the ends and beginnings of watches that do bring something. */
const BREATH = 100

interface Entry<T> {
  readonly version: string
  readonly kept: T
}

/**
 * All objects of one collection, as they are now: a list, then what changes of it. Goes on whatever happens to the API server:
 * meanwhile what was known stays.
 */
export class Informer<T = KubeObject> {
  readonly #options: InformerOptions<T>
  readonly #objects = new Map<string, Entry<T>>()
  readonly #listeners = new Set<(change: InformerChange<T>) => void>()
  readonly #ready = Promise.withResolvers<void>()
  /** Of the last list or event; empty: unknown. */
  #version = ''
  #synced = false

  constructor(options: InformerOptions<T>) {
    this.#options = options
  }

  /** The first list is there. */
  get synced(): boolean {
    return this.#synced
  }

  /** Resolves with the first list. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  get(namespace: string | undefined, name: string): T | undefined {
    return this.#objects.get(`${namespace ?? ''}/${name}`)?.kept
  }

  *values(): Generator<T> {
    for (const { kept } of this.#objects.values()) yield kept
  }

  /** Hears of each change from now on, until disposed. */
  subscribe(listener: (change: InformerChange<T>) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** Follows the collection until the signal. Does not reject. */
  async run(signal: AbortSignal): Promise<void> {
    const { path, log } = this.#options
    let wait = 0
    let complaint = ''
    while (!signal.aborted) {
      try {
        await this.#list(signal)
        if (complaint !== '') log.info(`${path} is followed again`)
        complaint = ''
        // Each watch takes up where the one before ended.
        while (!signal.aborted) {
          const began = performance.now()
          const events = await this.#watch(signal)
          if (events > 0 || performance.now() - began > SHORT) {
            wait = 0
            await pause(BREATH, signal)
          } else break
        }
      } catch (error) {
        if (signal.aborted) return
        const text = messageOf(error)
        // Once for each reason: an API server may be away for hours.
        if (text !== complaint) log.warn(`${path} is not followed at the moment: ${text}`)
        complaint = text
        if (error instanceof ClusterError && error.status === 410) complaint = ''
      }
      wait = Math.min(Math.max(FIRST_WAIT, wait * 2), LONGEST_WAIT)
      // Not all at once when the API server comes back.
      await pause(wait * (0.75 + Math.random() / 2), signal)
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { cluster, path, query, metadataOnly } = this.#options
    const found = new Map<string, KubeObject>()
    let next = ''
    let version = ''
    do {
      const search = new URLSearchParams({ ...query, limit: String(PAGE), ...(next !== '' && { continue: next }) })
      const accept = metadataOnly ? METADATA : 'application/json'
      const page = (await cluster.get(`${path}?${search}`, signal, accept)) as
        | { apiVersion?: string; kind?: string; metadata?: { resourceVersion?: string; continue?: string }; items?: KubeObject[] | null }
        | undefined
      // The kind is not installed: there are none, until it is.
      for (const item of page?.items ?? []) found.set(keyOf(item), item)
      next = page?.metadata?.continue ?? ''
      version = page?.metadata?.resourceVersion ?? ''
    } while (next !== '')
    for (const [key, entry] of this.#objects) if (!found.has(key)) this.#remove(key, entry.kept)
    for (const object of found.values()) this.#put(object)
    this.#version = version
    this.#synced = true
    this.#ready.resolve()
  }

  /** Resolves with how many changes it brought when the server ends it. */
  async #watch(signal: AbortSignal): Promise<number> {
    const { cluster, path, query, metadataOnly } = this.#options
    const search = new URLSearchParams({
      ...query,
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(WATCH_SECONDS),
      ...(this.#version !== '' && { resourceVersion: this.#version }),
    })
    let events = 0
    let problem: Error | undefined
    const dead = AbortSignal.timeout((WATCH_SECONDS + 30) * 1000)
    const onEvent = ({ type, object }: WatchEvent) => {
      if (type === 'ERROR') {
        const { code = 500, message = 'unknown' } = object as { code?: number; message?: string }
        problem ??= new ClusterError(code, message)
        return
      }
      const given = object as KubeObject
      this.#version = given.metadata?.resourceVersion ?? this.#version
      if (type === 'BOOKMARK') return
      events++
      if (type !== 'DELETED') return this.#put(given)
      const entry = this.#objects.get(keyOf(given))
      if (entry) this.#remove(keyOf(given), entry.kept)
    }
    try {
      await cluster.watch(`${path}?${search}`, onEvent, AbortSignal.any([signal, dead]), metadataOnly ? METADATA_WATCH : undefined)
    } catch (error) {
      if (error instanceof ClusterError && error.status === 404) return events
      throw error
    }
    if (problem) throw problem
    return events
  }

  #put(object: KubeObject): void {
    const key = keyOf(object)
    const known = this.#objects.get(key)
    const version = object.metadata.resourceVersion ?? ''
    if (known && version !== '' && known.version === version) return
    const kept = this.#options.keep ? this.#options.keep(object) : (withoutManaged(object) as T)
    if (kept === undefined) return known && this.#remove(key, known.kept)
    if (known && isDeepStrictEqual(known.kept, kept)) return
    this.#objects.set(key, { version, kept })
    this.#tell(known ? { type: 'updated', object: kept, before: known.kept } : { type: 'added', object: kept })
  }

  #remove(key: string, kept: T): void {
    this.#objects.delete(key)
    this.#tell({ type: 'deleted', object: kept })
  }

  #tell(change: InformerChange<T>): void {
    for (const listener of this.#listeners) listener(change)
  }
}

function keyOf({ metadata }: KubeObject): string {
  return `${metadata.namespace ?? ''}/${metadata.name}`
}

/** Who wrote which field is of no use here, and often larger than the rest. */
export function withoutManaged(object: KubeObject): KubeObject {
  if (object.metadata.managedFields === undefined) return object
  const { managedFields: _, ...metadata } = object.metadata
  return { ...object, metadata }
}

/** Runs informers until disposed. */
export function followAll(informers: Iterable<Pick<Informer, 'run'>>): AsyncDisposable {
  const stop = new AbortController()
  const running = [...informers].map((informer) => informer.run(stop.signal))
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.all(running)
    },
  }
}
