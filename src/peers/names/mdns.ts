import type { RemoteInfo } from 'node:dgram'
import { hostname, networkInterfaces } from 'node:os'
import type { Logger } from '../../telemetry/log.ts'
import { orAborted } from '../../waiting.ts'
import { type Address, isLoopback, type Resolver } from '../resolver.ts'
import { type DnsMessage, decodeMessage, encodeMessage } from './dns-message.ts'
import { MdnsCache } from './mdns-cache.ts'
import { type Announced, announcement, answer, browse, probe, sightings } from './mdns-records.ts'
import { MDNS_PORT, type Multicast, openMulticast } from './multicast.ts'

export interface MdnsOptions {
  log: Pick<Logger, 'debug' | 'warn'>
  /** UDP port of everybody on the link. Default 5353. */
  port?: number
  /** Milliseconds until an app nobody answers for is held to be missing. Default 1000, as daprd. */
  browseTimeout?: number
  /** Milliseconds between two questions for the apps in use. Default 30,000, as daprd. */
  refreshInterval?: number
}

/** Milliseconds after the first question that it is repeated, in case a datagram was lost. */
const ASK_AGAIN = [120, 450]
/** Milliseconds after the last probe of our two announcements; the second is for those who missed the first. */
const ANNOUNCE_AGAIN = 1000
/** Answers a second at most: a flood of questions is not made worse by ours. */
const ANSWER_RATE = 100
const BROWSE_LIMIT = 256

/**
 * Finds sidecars by multicast DNS as daprd does, and is found by them: `<app id>.local` is the service, each sidecar an
 * instance of it. One pair of sockets both announces and asks; what arrives unasked counts too. Addresses are remembered
 * for a minute after their last word; the apps in use are asked for again each half of that.
 */
export async function createMdnsResolver(options: MdnsOptions): Promise<Resolver> {
  const resolver = new MdnsResolver(options)
  await resolver.open()
  return resolver
}

class MdnsResolver implements Resolver {
  readonly #options: MdnsOptions
  readonly #cache = new MdnsCache()
  readonly #browsing = new Map<string, Browse>()
  readonly #announced = new Set<Announced>()
  readonly #timers = new Set<NodeJS.Timeout>()
  #multicast: Multicast | undefined
  #refresh: NodeJS.Timeout | undefined
  #ownAddresses: { list: Set<string>; until: number } | undefined
  #answers = { second: 0, count: 0 }
  #closed = false

  constructor(options: MdnsOptions) {
    this.#options = options
  }

  async open(): Promise<void> {
    this.#multicast = await openMulticast({
      port: this.#options.port ?? MDNS_PORT,
      onMessage: (bytes, from) => this.#receive(bytes, from),
      onProblem: (problem) => this.#options.log.debug(`mDNS: ${problem}`),
    })
  }

  resolve(appId: string, _namespace: string, signal?: AbortSignal): Address[] | Promise<Address[]> {
    const known = this.#cache.find(appId, Date.now())
    if (known) return known
    if (this.#closed || !this.#multicast?.open) return []
    let asking = this.#browsing.get(appId)
    if (!asking) {
      if (this.#browsing.size >= BROWSE_LIMIT) return []
      asking = this.#browse(appId)
      // A name that DNS cannot carry is nobody's.
      if (!asking) return []
    }
    return signal ? orAborted(asking.found, signal) : asking.found
  }

  invalidate(appId: string): void {
    if (this.#cache.doubt(appId, Date.now())) this.#send(browse(appId), 'link')
  }

  async register(registration: { appId: string; host: string; port: number }): Promise<AsyncDisposable> {
    const { appId, port } = registration
    const host = registration.host === 'localhost' ? '127.0.0.1' : registration.host
    const self: Announced = { appId, host, port, hostName: hostname(), pid: process.pid }
    try {
      encodeMessage(announcement(self))
    } catch (error) {
      this.#options.log.warn(`mDNS cannot announce app ${appId}: ${(error as Error).message}; other machines will not find it`)
      return { async [Symbol.asyncDispose]() {} }
    }
    this.#announced.add(self)
    this.#announce(self)
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#announced.delete(self)) this.#send(announcement(self, true), reachOf(self))
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    for (const self of this.#announced) this.#send(announcement(self, true), reachOf(self))
    this.#announced.clear()
    this.#closed = true
    clearTimeout(this.#refresh)
    for (const timer of this.#timers) clearTimeout(timer)
    for (const asking of this.#browsing.values()) asking.settle([])
    this.#multicast?.[Symbol.dispose]()
  }

  /** Probing twice, then saying it twice (RFC 6762, 8). Questions are answered from the start. */
  #announce(self: Announced): void {
    const reach = reachOf(self)
    const say = (message: Partial<DnsMessage>) => void (this.#announced.has(self) && this.#send(message, reach))
    say(probe(self))
    const second = 250 * Math.random()
    const third = second + 250 * Math.random()
    this.#later(second, () => say(probe(self)))
    this.#later(third, () => say(announcement(self)))
    this.#later(third + ANNOUNCE_AGAIN, () => say(announcement(self)))
  }

  #browse(appId: string): Browse | undefined {
    const question = browse(appId)
    try {
      encodeMessage(question)
    } catch {
      return undefined
    }
    this.#cache.want(appId, Date.now())
    const asking = new Browse()
    this.#browsing.set(appId, asking)
    this.#multicast?.refresh()
    this.#send(question, 'link')
    const ask = () => void (this.#browsing.get(appId) === asking && this.#send(question, 'link'))
    for (const milliseconds of ASK_AGAIN) this.#later(milliseconds, ask)
    const timeout = setTimeout(() => {
      this.#cache.missing(appId, Date.now())
      asking.settle([])
    }, this.#options.browseTimeout ?? 1000)
    asking.found.finally(() => {
      clearTimeout(timeout)
      if (this.#browsing.get(appId) === asking) this.#browsing.delete(appId)
    })
    this.#keepFresh()
    return asking
  }

  /** As long as any app is remembered. */
  #keepFresh(): void {
    this.#refresh ??= setTimeout(() => {
      this.#refresh = undefined
      if (this.#closed) return
      const inUse = this.#cache.sweep(Date.now())
      this.#multicast?.refresh()
      for (const appId of inUse) this.#send(browse(appId), 'link')
      if (this.#cache.size > 0) this.#keepFresh()
    }, this.#options.refreshInterval ?? 30_000).unref()
  }

  #receive(bytes: Buffer, from: RemoteInfo): void {
    if (this.#closed) return
    let message: DnsMessage
    try {
      message = decodeMessage(bytes)
    } catch {
      return
    }
    if (message.response) this.#learn(message, from)
    else this.#answer(message, from)
  }

  #learn(message: DnsMessage, from: RemoteInfo): void {
    if (this.#cache.size === 0) return
    const now = Date.now()
    for (const { appId, host, port, goodbye } of sightings(message, (id) => this.#cache.has(id))) {
      // Another machine's loopback is not ours.
      if (isLoopback(host) && !this.#isOwn(from.address)) continue
      const address = { host, port }
      if (goodbye) this.#cache.gone(appId, address)
      else this.#cache.seen(appId, address, now)
      const asking = this.#browsing.get(appId)
      const found = asking && this.#cache.find(appId, now)
      if (found && found.length > 0) asking.settle(found)
    }
  }

  #answer(query: DnsMessage, from: RemoteInfo): void {
    if (this.#announced.size === 0 || query.authorities.length > 0) return
    const port = this.#options.port ?? MDNS_PORT
    for (const question of query.questions) {
      for (const self of this.#announced) {
        const reply = answer(self, question, query.answers)
        if (!reply || !this.#mayAnswer()) continue
        // Whoever asks from another port is a plain resolver: it wants its id and question back (RFC 6762, 6.7).
        const plain = from.port !== port
        if (!plain && !question.unicast) this.#send({ ...reply, id: query.id }, reachOf(self))
        else if (!isLoopback(self.host) || this.#isOwn(from.address)) {
          const bytes = encodeMessage({ ...reply, id: query.id, ...(plain ? { questions: [question] } : {}) })
          this.#multicast?.reply(bytes, from)
        }
      }
    }
  }

  #mayAnswer(): boolean {
    const second = Math.floor(Date.now() / 1000)
    if (this.#answers.second !== second) this.#answers = { second, count: 0 }
    return this.#answers.count++ < ANSWER_RATE
  }

  #isOwn(address: string): boolean {
    const now = Date.now()
    if (!this.#ownAddresses || this.#ownAddresses.until < now) {
      const list = Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
        (addresses ?? []).map((one) => (one.address.startsWith('fe80:') ? `${one.address}%${name}` : one.address)),
      )
      this.#ownAddresses = { list: new Set(list), until: now + 5000 }
    }
    return this.#ownAddresses.list.has(address)
  }

  #send(message: Partial<DnsMessage>, reach: 'machine' | 'link'): void {
    this.#multicast?.send(encodeMessage(message), reach)
  }

  #later(milliseconds: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      work()
    }, milliseconds).unref()
    this.#timers.add(timer)
  }
}

/** One question under way; everybody who asks meanwhile waits for the same answer. */
class Browse {
  readonly found: Promise<Address[]>
  settle: (addresses: Address[]) => void = () => {}

  constructor() {
    this.found = new Promise((resolve) => {
      this.settle = resolve
    })
  }
}

/** A loopback address is nobody else's business: what tells of it never leaves the machine. */
function reachOf(self: Announced): 'machine' | 'link' {
  return isLoopback(self.host) ? 'machine' : 'link'
}
