import type { Address, Registration, Resolver } from '../resolver.ts'

/** Apps of this machine that are remembered. */
const MOST_OURS = 1000
/** Milliseconds after the loss of an app of this machine in which a search for another one is short, and how short. */
const LOST_TIME = 5000
const LOST_WAIT = 40

/**
 * Asks the registry of this machine and, for what it does not know, the network; both at once, so that neither waits for
 * the other. What the registry knows is never asked of the network.
 */
export function createLocalFirst(local: Resolver, network: Resolver): Resolver {
  /** Apps of this machine; `until` while one of them was lost a moment ago. */
  const ours = new Map<string, { until: number }>()
  return {
    resolve(appId, namespace, signal) {
      const here = attempt(() => local.resolve(appId, namespace, signal))
      const key = `${namespace}/${appId}`
      if (Array.isArray(here) && here.length > 0) {
        if (!ours.has(key) && ours.size < MOST_OURS) ours.set(key, { until: 0 })
        return here
      }
      // Its failure counts only where somebody waits for it.
      if (!Array.isArray(here)) here.catch(() => {})
      const there = network.resolve(appId, namespace, signal)
      if (Array.isArray(there) && (there.length > 0 || Array.isArray(here))) return there
      const found = firstFound([here, there])
      // It has said goodbye: whether the network has another one is known at once, or not at all.
      return (ours.get(key)?.until ?? 0) > Date.now() ? Promise.race([found, nobody(LOST_WAIT)]) : found
    },
    invalidate(appId, namespace) {
      const known = ours.get(`${namespace}/${appId}`)
      if (known) known.until = Date.now() + LOST_TIME
      local.invalidate(appId, namespace)
      network.invalidate(appId, namespace)
    },
    async register(registration: Registration) {
      const registrations = [await local.register(registration), await network.register(registration)]
      return {
        async [Symbol.asyncDispose]() {
          await Promise.all(registrations.map((one) => one[Symbol.asyncDispose]()))
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([local[Symbol.asyncDispose](), network[Symbol.asyncDispose]()])
    },
  }
}

/** A registry whose file cannot be read does not keep us from asking the network. */
function attempt(work: () => Address[] | Promise<Address[]>): Address[] | Promise<Address[]> {
  try {
    return work()
  } catch (error) {
    return Promise.reject(error)
  }
}

/** The first answer that is not empty; empty when all are. An error counts only when nobody found anything. */
function firstFound(answers: (Address[] | Promise<Address[]>)[]): Promise<Address[]> {
  return new Promise((resolve, reject) => {
    let open = answers.length
    let failure: unknown
    const done = (addresses: Address[]) => {
      open--
      if (addresses.length > 0) resolve(addresses)
      else if (open === 0) failure === undefined ? resolve([]) : reject(failure)
    }
    for (const answer of answers)
      Promise.resolve(answer).then(done, (error: unknown) => {
        failure = error
        done([])
      })
  })
}

function nobody(milliseconds: number): Promise<Address[]> {
  return new Promise((resolve) => setTimeout(() => resolve([]), milliseconds).unref())
}
