import { LeaseGoneError, type SecretLeases } from '../../blocks/secrets/driver.ts'
import { messageOf } from '../../errors.ts'
import type { SecretFilesSpec } from '../../resources/secret-files-schema.ts'
import type { RoleContext } from '../role.ts'
import type { Secret } from './secret-reader.ts'

interface Held {
  store: string
  path: string
  id: string
  values: Secret
  renewable: boolean
  /** Milliseconds that it was given for at first. */
  first: number
  /** Epoch milliseconds. */
  ends: number
  /** When something has to be done about it, epoch milliseconds. */
  due: number
}

/** Milliseconds for one request. */
const PATIENCE = 15_000
/** Milliseconds from one look at a lease to the next, at least. */
const SHORTEST = 100
/** Leases that others took the place of, kept to be given back at the end. */
const MOST_LEFT = 1000

/**
 * Secrets that a store made for this process. Each is held → renewed after two thirds of its time → … → asked for anew: when it
 * cannot be renewed, when nothing is left to renew, or when a renewal gives less than half of the first time (its maximum is near).
 * What was held before ends by itself, so that who still uses it may finish.
 */
export class Leases {
  readonly #spec: SecretFilesSpec['leases']
  readonly #jitter: number
  readonly #context: RoleContext
  readonly #held = new Map<string, Promise<Held>>()
  readonly #known = new Map<string, Held>()
  #left: Held[] = []
  renewals = 0
  fetches = 0

  constructor({ leases, jitter = 10 }: SecretFilesSpec, context: RoleContext) {
    this.#spec = leases
    this.#jitter = jitter / 100
    this.#context = context
  }

  get size(): number {
    return this.#known.size
  }

  /** Whether a secret of this name is one that is leased. */
  wants(name: string): boolean {
    return this.#spec?.paths.some((path) => name.startsWith(path)) ?? false
  }

  /** When the next one is due, epoch milliseconds. */
  get due(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...[...this.#known.values()].map(({ due }) => due))
  }

  /** What is held under this path, asked for when there is none. */
  async values(store: string, path: string): Promise<Secret> {
    const key = `${store} ${path}`
    const known = this.#held.get(key)
    if (known) return (await known).values
    const asked = this.#fetch(store, path)
    this.#held.set(key, asked)
    try {
      const held = await asked
      this.#known.set(key, held)
      return held.values
    } catch (error) {
      this.#held.delete(key)
      throw error
    }
  }

  /** Renews what is due. True: something has to be asked for anew. Rejects when the store is away and there is still time. */
  async renew(): Promise<boolean> {
    let anew = false
    let failure: unknown
    for (const [key, held] of [...this.#known]) {
      if (Date.now() < held.due) continue
      try {
        if (held.renewable && (await this.#renewed(held))) continue
      } catch (error) {
        // Whoever is away now may be back before it ends.
        if (!(error instanceof LeaseGoneError) && Date.now() < held.ends) {
          failure = new Error(`the lease of ${held.path} cannot be renewed: ${messageOf(error)}`)
          continue
        }
        this.#context.log.info(`the lease of ${held.path} is over: ${messageOf(error)}`)
      }
      this.#known.delete(key)
      this.#held.delete(key)
      this.#left = [...this.#left, held].filter(({ ends }) => ends > Date.now()).slice(-MOST_LEFT)
      anew = true
    }
    if (failure !== undefined && !anew) throw failure
    return anew
  }

  /** Gives everything back, when that is asked for or nobody has used it. What cannot be given back is told. */
  async release(unused = false): Promise<void> {
    await Promise.allSettled(this.#held.values())
    const all = [...this.#known.values(), ...this.#left].filter(({ id }) => id !== '')
    this.#known.clear()
    this.#held.clear()
    this.#left = []
    if (!unused && !this.#spec?.revoke) return
    await Promise.all(
      all.map(async ({ store, path, id }) => {
        try {
          await this.#store(store).revoke(id, AbortSignal.timeout(PATIENCE))
        } catch (error) {
          this.#context.log.warn(`the lease of ${path} could not be given back, it ends by itself: ${messageOf(error)}`)
        }
      }),
    )
  }

  async #fetch(store: string, path: string): Promise<Held> {
    const signal = AbortSignal.any([this.#context.signal, AbortSignal.timeout(PATIENCE)])
    const { id, duration, renewable, values } = await this.#store(store).read(path, signal)
    this.fetches++
    // Nobody says how long it is good: it is read again as the others are.
    const life = duration > 0 ? duration : Number.POSITIVE_INFINITY
    return { store, path, id, values, renewable: renewable && id !== '', first: life, ends: Date.now() + life, due: this.#dueIn(life) }
  }

  /** False: its maximum is near, and it is asked for anew. */
  async #renewed(held: Held): Promise<boolean> {
    const signal = AbortSignal.any([this.#context.signal, AbortSignal.timeout(PATIENCE)])
    const { duration, renewable } = await this.#store(held.store).renew(held.id, signal)
    this.renewals++
    if (duration <= 0) return false
    held.ends = Date.now() + duration
    held.renewable = renewable && duration >= held.first / 2
    held.due = this.#dueIn(duration)
    return true
  }

  #dueIn(life: number): number {
    return Date.now() + Math.max(SHORTEST, ((life * 2) / 3) * (1 - this.#jitter * Math.random()))
  }

  #store(name: string): SecretLeases {
    const { leases } = this.#context.components.secretStore(name)
    if (!leases) throw new Error(`the secret store ${name} leases nothing: spec.leases is for secretstores.hashicorp.vault`)
    return leases
  }
}
