import { messageOf } from '../../errors.ts'
import type { RoleContext } from '../role.ts'
import type { Leases } from './leases.ts'

export type Secret = Readonly<Record<string, string>>

/** Reads each secret once for a round of files. */
export class SecretReader {
  readonly #context: RoleContext
  readonly #leases: Leases
  readonly #read = new Map<string, Promise<Secret>>()

  constructor(context: RoleContext, leases: Leases) {
    this.#context = context
    this.#leases = leases
  }

  /** Rejects with an Error that names store and secret. */
  get(store: string, name: string): Promise<Secret> {
    const key = JSON.stringify([store, name])
    const known = this.#read.get(key)
    if (known) return known
    const read = this.#ask(store, name)
    this.#read.set(key, read)
    return read
  }

  async value(store: string, name: string, key = name): Promise<string> {
    const secret = await this.get(store, name)
    // A store with one value a secret calls it by the secret's name.
    const found = Object.hasOwn(secret, key) ? secret[key] : undefined
    if (found === undefined)
      throw new Error(`the secret ${name} of ${store} has no ${key}; it has ${Object.keys(secret).join(', ') || 'nothing'}`)
    return found
  }

  async #ask(store: string, name: string): Promise<Secret> {
    try {
      if (this.#leases.wants(name)) return await this.#leases.values(store, name)
      return await this.#context.components
        .secretStore(store)
        .get(name, {}, AbortSignal.any([this.#context.signal, AbortSignal.timeout(30_000)]))
    } catch (error) {
      throw new Error(`the secret ${name} cannot be read from ${store}: ${messageOf(error)}`)
    }
  }
}
