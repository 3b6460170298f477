import type { StateDelete, StateFeature, StateGet, StateItem, StateOperation, StateSet, StateStore } from '../../../blocks/state/driver.ts'
import type { KeysPage, ListsKeys } from '../../../blocks/state/keys.ts'
import { messageOf } from '../../../errors.ts'
import type { MessageOf } from '../../../transport/grpc/message.ts'
import type { ComponentContext, DriverModule } from '../../component.ts'
import { EtcdClient } from '../../etcd/client.ts'
import { CompareTarget, type RangeResponse } from '../../etcd/messages.ts'
import { Failures } from '../bulk.ts'
import { readTtl } from '../ttl.ts'
import { listKeys } from './keys.ts'
import { type Layout, layoutOf } from './layout.ts'
import { mismatch, type Plan, planOf, taken } from './plan.ts'
import { type EtcdSettings, fields, readSettings } from './settings.ts'

type Stored = MessageOf<typeof RangeResponse>['kvs'][number]

/** Bytes of values in one request of a list; etcd takes 1.5 MiB by default. */
const LIST_BYTES = 1 << 20
/** Writes of a list that are under way at once, where each needs its own answer. */
const PARALLEL = 64

/** State in etcd, keys and values as daprd's v1 and v2 components write them. */
class EtcdState implements StateStore, ListsKeys {
  readonly features: readonly StateFeature[] = ['ETAG', 'TRANSACTIONAL', 'TTL', 'KEYS_LIKE']
  private readonly context: ComponentContext
  private readonly settings: EtcdSettings
  private readonly layout: Layout
  private readonly client: EtcdClient

  constructor(context: ComponentContext) {
    this.context = context
    this.settings = readSettings(context.properties)
    this.layout = layoutOf(context.version)
    const { endpoints, tls } = this.settings
    this.client = new EtcdClient({ endpoints, tls, owner: `state store ${context.name}` })
  }

  /** A cluster that is away does not hold up the start, as under Dapr; the log says so. */
  async init(): Promise<void> {
    void this.ping().catch((error: unknown) => this.context.log.warn(messageOf(error)))
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.client.range({ key: Buffer.from('health'), keysOnly: true }, signal)
  }

  async maxTransactionSize(): Promise<number> {
    return this.settings.maxTxnOps
  }

  async get({ key }: StateGet, signal?: AbortSignal): Promise<StateItem | undefined> {
    const stored = (await this.client.range({ key: this.stored(key) }, signal)).kvs[0]
    return stored && this.item(stored)
  }

  /** In parts; between two parts others may write, as between two reads. */
  async bulkGet(requests: readonly StateGet[], signal?: AbortSignal): Promise<(StateItem | undefined)[]> {
    const found: (StateItem | undefined)[] = []
    for (let at = 0; at < requests.length; at += this.settings.maxTxnOps) {
      const part = requests.slice(at, at + this.settings.maxTxnOps)
      const { responses } = await this.client.txn({ success: part.map(({ key }) => ({ range: { key: this.stored(key) } })) }, signal)
      for (const { range } of responses) found.push(range?.kvs[0] && this.item(range.kvs[0]))
    }
    return found
  }

  set(item: StateSet, signal?: AbortSignal): Promise<void> {
    return this.write([item], signal)
  }

  delete(item: StateDelete, signal?: AbortSignal): Promise<void> {
    return this.write([item], signal)
  }

  bulkSet(items: readonly StateSet[], signal?: AbortSignal): Promise<void> {
    return this.list(items, signal)
  }

  bulkDelete(items: readonly StateDelete[], signal?: AbortSignal): Promise<void> {
    return this.list(items, signal)
  }

  async transact(operations: readonly StateOperation[], _metadata: unknown, signal?: AbortSignal): Promise<void> {
    if (operations.length > 0) await this.write(operations, signal)
  }

  keysLike(pattern: string, page: { size?: number; token?: string }, signal?: AbortSignal): Promise<KeysPage> {
    return listKeys(this.client, this.settings.base, pattern, page, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client[Symbol.asyncDispose]()
  }

  private stored(key: string): Buffer {
    return Buffer.from(this.settings.base + key)
  }

  private item(stored: Stored): StateItem {
    return { ...this.layout.decode(stored.value), etag: String(stored.modRevision) }
  }

  /** All or nothing. daprd looks at ETags first and writes afterwards, here etcd does both at once: of two racing writers one wins. */
  private async write(operations: readonly StateOperation[], signal: AbortSignal | undefined): Promise<void> {
    const plan = planOf(operations, this.settings.base)
    const writes = await this.writes(plan.outcomes, signal)
    const only = writes[0]
    if (writes.length === 1 && only?.put && plan.conditions.length === 0) return void (await this.client.put(only.put, signal))
    const { succeeded, responses } = await this.client.txn(
      {
        compare: plan.conditions.map(({ key, etag }) =>
          etag === undefined
            ? { target: CompareTarget.create, key: this.stored(key), createRevision: 0 }
            : { target: CompareTarget.mod, key: this.stored(key), modRevision: revisionOf(etag) },
        ),
        success: writes,
        failure: plan.conditions.map(({ key }) => ({ range: { key: this.stored(key), keysOnly: true } })),
      },
      signal,
    )
    if (!succeeded)
      throw refusal(
        plan,
        this.settings.base,
        responses.map(({ range }) => range?.kvs[0]?.modRevision),
      )
  }

  /** Items of a list are independent: those refused are told, the others are written. */
  private async list(items: readonly StateOperation[], signal: AbortSignal | undefined): Promise<void> {
    if (items.some((item) => item.etag !== undefined || item.concurrency === 'first-write')) {
      const failures = new Failures()
      let next = 0
      const worker = async () => {
        while (next < items.length) {
          const item = items[next++] as StateOperation
          await this.write([item], signal).catch((error: Error) => failures.add(item.key, error))
        }
      }
      await Promise.all(Array.from({ length: Math.min(PARALLEL, items.length) }, worker))
      return failures.throwAny()
    }
    const writes = await this.writes(planOf(items, this.settings.base).outcomes, signal)
    for (let at = 0; at < writes.length; ) {
      let end = at
      for (let size = 0; end < writes.length && end - at < this.settings.maxTxnOps; end++) {
        size += writes[end]?.put?.value.length ?? 0
        if (end > at && size > LIST_BYTES) break
      }
      await this.client.txn({ success: writes.slice(at, end) }, signal)
      at = end
    }
  }

  /** Items with one TTL share a lease. */
  private async writes(outcomes: Plan['outcomes'], signal: AbortSignal | undefined) {
    const ttls = new Map<StateSet, number>()
    for (const item of outcomes.values()) {
      const ttl = item && readTtl(item.metadata, "incorrect value for metadata 'ttlInSeconds': ")
      if (item && ttl !== undefined && ttl > 0) ttls.set(item, ttl)
    }
    const leases = new Map<number, number>()
    for (const ttl of new Set(ttls.values())) leases.set(ttl, await this.client.grant(ttl, signal))
    return [...outcomes].map(([key, item]) => {
      const stored = this.stored(key)
      if (!item) return { deleteRange: { key: stored } }
      const ttl = ttls.get(item)
      return { put: { key: stored, value: this.layout.encode(item, ttl), ...(ttl ? { lease: leases.get(ttl) as number } : {}) } }
    })
  }
}

/** Revisions are numbers from 1 on; of any other text, one that is nobody's. */
function revisionOf(etag: string): number {
  return /^[1-9]\d{0,14}$/.test(etag) ? Number(etag) : -1
}

/** Which condition it was; where none is found wanting any more, somebody has changed the key since. */
function refusal({ conditions }: Plan, base: string, revisions: (number | undefined)[]): Error {
  const index = conditions.findIndex(({ etag }, at) => etag !== revisions[at]?.toString())
  const { key, etag } = conditions[Math.max(index, 0)] as Plan['conditions'][number]
  return etag === undefined ? taken() : mismatch(base + key, etag, revisions[Math.max(index, 0)]?.toString())
}

export const driver: DriverModule<StateStore> = {
  summary: 'Keeps state in etcd: v1 as it is, v2 in an envelope that tells the time of expiry.',
  metadata: fields,
  create: (context) => new EtcdState(context),
}
