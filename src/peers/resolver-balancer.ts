import { connect } from 'node:net'
import type { Outliers } from '../policy/traffic/outliers.ts'
import { type Address, formatAddress } from './resolver.ts'

/** Addresses under watch; more are used without being counted. */
const LIMIT = 1000
/** Milliseconds until an address that was lost is tried: doubled by each failure, up to the second figure. */
const FIRST_PROBE = 1000
const LAST_PROBE = 30_000
/** Milliseconds after which an address that stays lost is forgotten; its registry has done so, or it gets another chance. */
const GIVE_UP = 300_000
const PROBE_TIMEOUT = 2000

/** One call's use of one address. */
export interface Turn {
  /** `host:port`. */
  readonly address: string
  /**
   * The call is over; `lost` when the address could not be reached, `failed` when what was reached there failed (undefined:
   * the call says nothing about it). Only the first word counts.
   */
  end(lost: boolean, failed?: boolean): void
}

interface Node {
  outstanding: number
  failures: number
  /** Since when the address is left out; 0 when it is not. */
  lostAt: number
  timer: NodeJS.Timeout | undefined
}

export interface BalancerOptions {
  /** Milliseconds until the first look at a lost address. Default 1000. */
  firstProbe?: number
  /** Whether a connection to the address stands. Default: TCP. */
  probe?(address: Address): Promise<boolean>
  random?(): number
}

/**
 * Chooses among the addresses of an app: of two taken at random, the one with fewer calls of ours under way. One that
 * could not be reached is left out until a connection stands again, tried in the background so that no call pays for it;
 * when all are out, all are used. An app with one address costs nothing here.
 */
export class Balancer implements Disposable {
  readonly #options: BalancerOptions
  readonly #random: () => number
  readonly #nodes = new Map<string, Node>()
  #lost = 0
  #closed = false

  constructor(options: BalancerOptions = {}) {
    this.#options = options
    this.#random = options.random ?? Math.random
  }

  /** How many addresses are left out. */
  get lost(): number {
    return this.#lost
  }

  /**
   * `avoid` is used only when there is nothing else, and so is what is out for failing. `addresses` has at least one.
   * @param outliers Knows which addresses fail; absent: that is not looked at.
   */
  take(addresses: readonly Address[], avoid?: string, outliers?: Outliers): Turn {
    const only = addresses.length === 1 ? (addresses[0] as Address) : undefined
    if (only) return { address: formatAddress(only), end: nothing }
    if (outliers) return watched(this.#choose(well(addresses, outliers), avoid), outliers)
    return this.#choose(addresses, avoid)
  }

  #choose(addresses: readonly Address[], avoid: string | undefined): Turn {
    const [first, second] = this.#two(this.#usable(addresses, avoid))
    const one = formatAddress(first)
    const other = formatAddress(second)
    const [address, chosen] =
      (this.#nodes.get(other)?.outstanding ?? 0) < (this.#nodes.get(one)?.outstanding ?? 0) ? [other, second] : [one, first]
    return this.#turn(address, chosen)
  }

  [Symbol.dispose](): void {
    this.#closed = true
    for (const { timer } of this.#nodes.values()) clearTimeout(timer)
    this.#nodes.clear()
  }

  #usable(addresses: readonly Address[], avoid: string | undefined): readonly Address[] {
    if (this.#lost === 0 && avoid === undefined) return addresses
    const others = avoid === undefined ? addresses : addresses.filter((address) => formatAddress(address) !== avoid)
    const healthy = this.#lost === 0 ? others : others.filter((address) => !this.#nodes.get(formatAddress(address))?.lostAt)
    return healthy.length > 0 ? healthy : others.length > 0 ? others : addresses
  }

  #two(addresses: readonly Address[]): [Address, Address] {
    const size = addresses.length
    const i = Math.floor(this.#random() * size)
    if (size === 1) return [addresses[i] as Address, addresses[i] as Address]
    const j = (i + 1 + Math.floor(this.#random() * (size - 1))) % size
    return [addresses[i] as Address, addresses[j] as Address]
  }

  #turn(address: string, target: Address): Turn {
    let node = this.#nodes.get(address)
    if (!node) {
      if (this.#nodes.size >= LIMIT || this.#closed) return { address, end: nothing }
      node = { outstanding: 0, failures: 0, lostAt: 0, timer: undefined }
      this.#nodes.set(address, node)
    }
    const used = node
    used.outstanding++
    let over = false
    return {
      address,
      end: (lost) => {
        if (over) return
        over = true
        used.outstanding--
        if (this.#closed) return
        if (lost) this.#leaveOut(address, target, used)
        else if (!used.lostAt) used.failures = 0
        this.#tidy(address, used)
      },
    }
  }

  #leaveOut(address: string, target: Address, node: Node): void {
    if (node.lostAt) return
    node.lostAt = Date.now()
    this.#lost++
    this.#look(address, target, node)
  }

  #look(address: string, target: Address, node: Node): void {
    const wait = Math.min((this.#options.firstProbe ?? FIRST_PROBE) * 2 ** node.failures++, LAST_PROBE)
    node.timer = setTimeout(async () => {
      const stands = await (this.#options.probe ?? answers)(target)
      if (this.#closed) return
      if (!stands && Date.now() - node.lostAt < GIVE_UP) return this.#look(address, target, node)
      // Its failures are kept until a call succeeds: an address that accepts and fails is looked at ever later.
      if (!stands) node.failures = 0
      node.lostAt = 0
      this.#lost--
      this.#tidy(address, node)
    }, wait).unref()
  }

  #tidy(address: string, node: Node): void {
    if (node.outstanding === 0 && node.failures === 0 && !node.lostAt) this.#nodes.delete(address)
  }
}

/** The addresses that do not fail; all when none is left. */
function well(addresses: readonly Address[], outliers: Outliers): readonly Address[] {
  const good = addresses.filter((address) => outliers.usable(formatAddress(address), addresses.length))
  return good.length > 0 ? good : addresses
}

/** A turn that tells how it went. */
function watched(turn: Turn, outliers: Outliers): Turn {
  const { address } = turn
  const probes = outliers.begin(address)
  let over = false
  return {
    address,
    end(lost, failed) {
      if (!over) outliers.end(address, lost || failed, probes)
      over = true
      turn.end(lost)
    },
  }
}

/** A turn at one of the addresses, by the balancer where there is one. */
export function takeTurn(balancer: Balancer | undefined, addresses: readonly Address[], avoid?: string, outliers?: Outliers): Turn {
  if (balancer) return balancer.take(addresses, avoid, outliers)
  const others = addresses.length > 1 && avoid !== undefined ? addresses.filter((one) => formatAddress(one) !== avoid) : addresses
  const list = others.length > 0 ? others : addresses
  return { address: formatAddress(list[list.length === 1 ? 0 : Math.floor(Math.random() * list.length)] as Address), end: nothing }
}

function answers({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: PROBE_TIMEOUT })
    const end = (stands: boolean) => {
      socket.destroy()
      resolve(stands)
    }
    socket
      .unref()
      .once('connect', () => end(true))
      .once('timeout', () => end(false))
      .once('error', () => end(false))
  })
}

function nothing(): void {}
