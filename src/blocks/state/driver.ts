import type { Component } from '../../components/component.ts'

export type { Filter, StateQuery } from './query.ts'

export type StateFeature = 'ETAG' | 'TRANSACTIONAL' | 'QUERY_API' | 'TTL' | 'DELETE_WITH_PREFIX' | 'PARTITION_KEY' | 'KEYS_LIKE'
export type Concurrency = 'first-write' | 'last-write'
export type Consistency = 'strong' | 'eventual'

export interface StateGet {
  /** The stored key, prefix included. */
  key: string
  consistency?: Consistency | undefined
  metadata: Readonly<Record<string, string>>
}

/** `data` is what was stored: JSON text, or raw bytes. */
export interface StateItem {
  data: Buffer
  etag?: string | undefined
  /** e.g. `ttlExpireTime`, RFC 3339. */
  metadata?: Record<string, string> | undefined
  contentType?: string | undefined
}

export interface StateSet {
  kind: 'upsert'
  key: string
  value: Buffer
  /** Whether `value` is JSON text (a value given as JSON) or opaque bytes; stores that tell them apart on disk need it. */
  json: boolean
  /** undefined: none given. */
  etag?: string | undefined
  concurrency?: Concurrency | undefined
  consistency?: Consistency | undefined
  /** Of the value, where a request names it beside the metadata; outbox events carry it. */
  contentType?: string | undefined
  metadata: Readonly<Record<string, string>>
}

export interface StateDelete {
  kind: 'delete'
  key: string
  etag?: string | undefined
  concurrency?: Concurrency | undefined
  consistency?: Consistency | undefined
  metadata: Readonly<Record<string, string>>
}

export type StateOperation = StateSet | StateDelete

export interface StateQueryResult {
  results: { key: string; data: Buffer; etag?: string; error?: string }[]
  token?: string
  metadata?: Record<string, string>
}

/** The ETag given is not the stored one (`mismatch`), or cannot be one of this store (`invalid`). */
export class EtagError extends Error {
  override readonly name = 'EtagError'
  readonly kind: 'mismatch' | 'invalid'
  /** Trying the same again cannot help: no retry policy does. */
  readonly permanent = true
  constructor(kind: 'mismatch' | 'invalid', message: string) {
    super(message)
    this.kind = kind
  }
}

/** One state store. Optional methods are capabilities; each must be among `features` where one names it, and proven by the conformance suite. */
export interface StateStore extends Component {
  readonly features: readonly StateFeature[]
  get(request: StateGet, signal?: AbortSignal): Promise<StateItem | undefined>
  set(item: StateSet, signal?: AbortSignal): Promise<void>
  delete(item: StateDelete, signal?: AbortSignal): Promise<void>
  /** In the order of the keys; one missing is undefined, one failing an Error. */
  bulkGet?(requests: readonly StateGet[], signal?: AbortSignal): Promise<(StateItem | Error | undefined)[]>
  /** All or as far as the store can: a single round trip or transaction. */
  bulkSet?(items: readonly StateSet[], signal?: AbortSignal): Promise<void>
  bulkDelete?(items: readonly StateDelete[], signal?: AbortSignal): Promise<void>
  /** All or nothing (feature TRANSACTIONAL). */
  transact?(operations: readonly StateOperation[], metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<void>
  /** Operations that one transaction may have; undefined: any number. */
  maxTransactionSize?(): Promise<number | undefined>
  query?(query: unknown, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<StateQueryResult>
}
