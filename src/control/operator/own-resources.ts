import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '../../components/kubernetes/cluster.ts'
import { messageOf } from '../../errors.ts'
import { OWN_RESOURCES } from '../../resources/operator/messages.ts'
import type { Logger } from '../../telemetry/log.ts'
import { Informer, type InformerChange, type KubeObject, withoutManaged } from '../informer.ts'

/** Definitions may be installed after us: the API server is asked for them again after so many milliseconds. */
const EVERY = 60_000
const ROOT = `/apis/${OWN_RESOURCES.apiVersion}`

interface Discovered {
  resources?: { name: string; kind: string }[]
}

export interface OwnResourcesOptions {
  cluster: Cluster
  /** Empty: all. */
  namespace: string
  /** Milliseconds between two looks for definitions. Default a minute. */
  lookEvery?: number
  log: Logger
}

/**
 * All resources of outrider.dev, of whatever kinds the cluster defines: kinds are asked for, so that none has to be named here. A
 * cluster without any, or one that does not show them to us, has none.
 */
export class OwnResources {
  readonly #options: OwnResourcesOptions
  readonly #informers = new Map<string, Informer>()
  readonly #listeners = new Set<(change: InformerChange<KubeObject>) => void>()

  constructor(options: OwnResourcesOptions) {
    this.#options = options
  }

  *values(): Generator<KubeObject> {
    for (const informer of this.#informers.values()) yield* informer.values()
  }

  /** Hears of each change from now on, until disposed. */
  subscribe(listener: (change: InformerChange<KubeObject>) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** Follows them until the signal. Does not reject. */
  async run(signal: AbortSignal): Promise<void> {
    const { cluster, lookEvery = EVERY, log } = this.#options
    const running: Promise<void>[] = []
    let complaint = ''
    while (!signal.aborted) {
      try {
        const found = (await cluster.get(ROOT, signal)) as Discovered | undefined
        for (const { name, kind } of found?.resources ?? []) {
          // What has a slash belongs to another, its status say.
          if (name.includes('/') || this.#informers.has(kind)) continue
          const informer = this.#informer(name, kind)
          this.#informers.set(kind, informer)
          running.push(informer.run(signal))
        }
        complaint = ''
      } catch (error) {
        const text = messageOf(error)
        if (!signal.aborted && text !== complaint) log.debug(`kinds of outrider.dev are not looked for at the moment: ${text}`)
        complaint = text
      }
      await delay(lookEvery, undefined, { signal }).catch(() => {})
    }
    await Promise.all(running)
  }

  #informer(plural: string, kind: string): Informer {
    const { cluster, namespace, log } = this.#options
    const path = `${ROOT}${namespace === '' ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`
    const keep = (object: KubeObject): KubeObject => ({ ...withoutManaged(object), apiVersion: OWN_RESOURCES.apiVersion, kind })
    const informer = new Informer({ cluster, path, keep, log })
    informer.subscribe((change) => {
      for (const listener of this.#listeners) listener(change)
    })
    return informer
  }
}
