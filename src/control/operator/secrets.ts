import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { TimedValue } from '../timed-value.ts'

/** Milliseconds that a Secret is believed: pods of one app start at the same time. */
const LIFE = 5000
/** Secrets that are known at a time; the one asked for longest ago goes first. */
const KEPT = 500

type SecretData = Readonly<Record<string, string>>

/** Secrets of the cluster as they are, in Base64. */
export class SecretReader {
  readonly #cluster: Cluster
  readonly #known = new Map<string, TimedValue<SecretData>>()

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /** Base64 of one key of a Secret; undefined: it has no such key. Rejects when there is no such Secret. */
  async read(namespace: string, name: string, key: string): Promise<string | undefined> {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets/${encodeURIComponent(name)}`
    const value = this.#known.get(path) ?? new TimedValue(() => this.#load(path, namespace, name), LIFE)
    this.#known.delete(path)
    this.#known.set(path, value)
    if (this.#known.size > KEPT) this.#known.delete(this.#known.keys().next().value as string)
    const data = await value.get()
    return Object.hasOwn(data, key) ? data[key] : undefined
  }

  async #load(path: string, namespace: string, name: string): Promise<SecretData> {
    const found = (await this.#cluster.get(path)) as { data?: SecretData | null } | undefined
    if (!found) throw new Error(`secrets "${name}" not found in the namespace ${namespace}`)
    return found.data ?? {}
  }
}
