import { OutriderError } from '../errors.ts'

/** Components of one block by name, as the runtime holds them; drivers come and go while the sidecar runs. */
export interface Named<T> {
  readonly name: string
  readonly type: string
  readonly version: string
  readonly component: T
  /** spec.metadata as resolved, for settings that belong to the block (keyPrefix, outbox…), names lower-cased. */
  readonly properties: Readonly<Record<string, string>>
}
export interface ComponentSet<T> extends ReadonlyMap<string, Named<T>> {
  /** Why a component that has a resource is not in the set: it waits for its server. One sentence, no full stop. */
  waiting?(name: string): string | undefined
}

export const WAITING_HINT =
  "start the component's server or correct its address: it is tried again by itself, and its state is among the components of /v1.0/metadata"

/** A block's "no such component" error, telling when the component is there but waits for its server. Codes stay as they are. */
export function explained(error: unknown, set: ComponentSet<unknown>, name: string): unknown {
  if (!(error instanceof OutriderError) || !/_NOT_(FOUND|CONFIGURED)$/.test(error.code)) return error
  const waiting = set.waiting?.(name)
  if (waiting === undefined) return error
  const { code, http, grpc, message, details, cause } = error
  return new OutriderError({
    code,
    http,
    grpc,
    message: `${message}: ${waiting}`,
    hint: WAITING_HINT,
    details: [...details],
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  })
}

/** The same function that finds a component by name or throws, with `explained` errors. */
export function explaining<A extends [name: string, ...rest: unknown[]], R>(set: ComponentSet<unknown>, find: (...args: A) => R) {
  return (...args: A): R => {
    try {
      return find(...args)
    } catch (error) {
      throw explained(error, set, args[0])
    }
  }
}
