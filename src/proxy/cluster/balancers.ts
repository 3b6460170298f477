import type { Balance } from '../model/cluster.ts'
import { hashOf } from './hash.ts'
import type { Host } from './host.ts'

/** Chooses among endpoints that may be asked; `hash` where the route says by what. */
export interface Balancer {
  /** The endpoints have changed, or their health has. */
  set(hosts: readonly Host[]): void
  pick(hash: number | undefined): Host | undefined
}

/** The balancer of this name. `choices`: endpoints that least-request compares. `ring`: points on the ring. */
export function balancerOf(balance: Balance, choices: number, ring: { minSize: number; maxSize: number }): Balancer {
  if (balance === 'ring-hash') return new Ring(ring)
  if (balance === 'random') return new AtRandom()
  if (balance === 'least-request') return new LeastRequest(choices)
  return new RoundRobin()
}

/** Each in turn, as often as its weight says, evenly spread. */
class RoundRobin implements Balancer {
  #hosts: readonly Host[] = []
  #even = true
  #next = 0
  #total = 0

  set(hosts: readonly Host[]): void {
    this.#hosts = hosts
    this.#even = hosts.every(({ endpoint }) => endpoint.weight === hosts[0]?.endpoint.weight)
    this.#total = hosts.reduce((sum, { endpoint }) => sum + endpoint.weight, 0)
  }

  pick(): Host | undefined {
    const hosts = this.#hosts
    if (hosts.length <= 1) return hosts[0]
    if (this.#even) {
      this.#next = (this.#next + 1) % hosts.length
      return hosts[this.#next]
    }
    let best: Host | undefined
    for (const host of hosts) {
      host.current += host.endpoint.weight
      if (!best || host.current > best.current) best = host
    }
    if (best) best.current -= this.#total
    return best
  }
}

class AtRandom implements Balancer {
  #hosts: readonly Host[] = []
  #total = 0

  set(hosts: readonly Host[]): void {
    this.#hosts = hosts
    this.#total = hosts.reduce((sum, { endpoint }) => sum + endpoint.weight, 0)
  }

  pick(): Host | undefined {
    let left = Math.random() * this.#total
    for (const host of this.#hosts) {
      left -= host.endpoint.weight
      if (left < 0) return host
    }
    return this.#hosts.at(-1)
  }
}

/** Of a few chosen at random the one with the least under way for its weight. */
class LeastRequest implements Balancer {
  readonly #choices: number
  #hosts: readonly Host[] = []

  constructor(choices: number) {
    this.#choices = choices
  }

  set(hosts: readonly Host[]): void {
    this.#hosts = hosts
  }

  pick(): Host | undefined {
    const hosts = this.#hosts
    const { length } = hosts
    if (length <= 1) return hosts[0]
    let best: Host | undefined
    let least = Number.POSITIVE_INFINITY
    // So many comparisons as would see everyone see everyone.
    const all = this.#choices >= length
    const start = Math.floor(Math.random() * length)
    for (let i = 0; i < Math.min(this.#choices, length); i++) {
      const host = hosts[all ? (start + i) % length : Math.floor(Math.random() * length)] as Host
      const load = (host.active + 1) / host.endpoint.weight
      if (load >= least) continue
      least = load
      best = host
    }
    return best
  }
}

/** Consistent hashing: each endpoint has points on a ring as its weight says; a request goes to the next one after its hash. */
class Ring implements Balancer {
  readonly #size: { minSize: number; maxSize: number }
  #points: { at: number; host: Host }[] = []

  constructor(size: { minSize: number; maxSize: number }) {
    this.#size = size
  }

  set(hosts: readonly Host[]): void {
    const total = hosts.reduce((sum, { endpoint }) => sum + endpoint.weight, 0)
    const { minSize, maxSize } = this.#size
    const least = Math.min(...hosts.map(({ endpoint }) => endpoint.weight / total))
    // The lightest one has a whole number of points where that fits.
    const size = Math.min(maxSize, Math.ceil(least * minSize) / least || minSize)
    this.#points = hosts
      .flatMap((host) => {
        const count = Math.max(1, Math.round((host.endpoint.weight / total) * size))
        return Array.from({ length: count }, (_, index) => ({ at: hashOf(`${host.address}_${index}`), host }))
      })
      .sort((a, b) => a.at - b.at)
  }

  pick(hash = Math.floor(Math.random() * 2 ** 32)): Host | undefined {
    const points = this.#points
    let low = 0
    let high = points.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((points[middle] as { at: number }).at < hash) low = middle + 1
      else high = middle
    }
    return points[low === points.length ? 0 : low]?.host
  }
}
