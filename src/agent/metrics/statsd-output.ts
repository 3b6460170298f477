import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { MetricFamily } from './families.ts'
import { splitAddress } from './listeners.ts'

/** Bytes of a packet: what goes through most networks whole. */
const PACKET = 1432
/** Counters whose last value is known; the one longest not seen goes. */
const MOST_KNOWN = 50_000

/** Turns families into StatsD's lines: what counters grew by since they were last seen, gauges as they are. */
export class StatsdLines {
  readonly #prefix: string
  readonly #tagged: boolean
  readonly #last = new Map<string, number>()

  constructor(options: { prefix: string; tags: 'datadog' | 'none' }) {
    this.#prefix = options.prefix
    this.#tagged = options.tags === 'datadog'
  }

  of(families: readonly MetricFamily[]): string[] {
    const lines: string[] = []
    for (const family of families) {
      if (family.type === 'histogram') {
        for (const { attributes, bounds, counts, sum, count } of family.points) {
          this.#grown(lines, `${family.name}_count`, attributes, count)
          this.#grown(lines, `${family.name}_sum`, attributes, sum)
          for (const [at, own] of counts.entries())
            this.#grown(lines, `${family.name}_bucket`, { ...attributes, le: at < bounds.length ? String(bounds[at]) : 'inf' }, own)
        }
      } else if (family.type === 'counter') {
        for (const { attributes, value } of family.points) this.#grown(lines, family.name, attributes, value)
      } else {
        for (const { attributes, value } of family.points) {
          if (!Number.isFinite(value)) continue
          // A sign would make it a step; servers take a negative value after a zero.
          if (value < 0) lines.push(this.#line(family.name, attributes, '0', 'g'))
          lines.push(this.#line(family.name, attributes, String(value), 'g'))
        }
      }
    }
    return lines
  }

  /** The first time a counter is seen nothing is told: how much of it is new is not known. A smaller value: it began anew. */
  #grown(lines: string[], name: string, attributes: Readonly<Record<string, string>>, value: number): void {
    if (!Number.isFinite(value)) return
    const key = this.#line(name, attributes, '', 'c')
    const before = this.#last.get(key)
    this.#last.delete(key)
    this.#last.set(key, value)
    if (this.#last.size > MOST_KNOWN)
      for (const oldest of this.#last.keys()) {
        this.#last.delete(oldest)
        break
      }
    if (before === undefined) return
    const step = value >= before ? value - before : value
    if (step > 0) lines.push(this.#line(name, attributes, String(step), 'c'))
  }

  #line(name: string, attributes: Readonly<Record<string, string>>, value: string, type: 'c' | 'g'): string {
    const labels = Object.entries(attributes)
    if (this.#tagged) {
      const tags = labels.map(([label, text]) => `${label}:${text.replaceAll(/[|,\n\r#]/g, '_')}`).join(',')
      return `${this.#prefix}${name}:${value}|${type}${tags === '' ? '' : `|#${tags}`}`
    }
    const parts = labels.map(([label, text]) => `.${label}.${text.replaceAll(/[^a-zA-Z0-9_-]/g, '_')}`).join('')
    return `${this.#prefix}${name}${parts}:${value}|${type}`
  }
}

/** Lines in as few packets as go. */
export function packets(lines: readonly string[]): string[] {
  const made: string[] = []
  let packet = ''
  for (const line of lines) {
    if (packet !== '' && Buffer.byteLength(packet) + 1 + Buffer.byteLength(line) > PACKET) {
      made.push(packet)
      packet = ''
    }
    packet += packet === '' ? line : `\n${line}`
  }
  return packet === '' ? made : [...made, packet]
}

/** Sends to one StatsD server. Nobody answers; what the system refuses is counted. */
export class StatsdSender implements AsyncDisposable {
  readonly #to: { host: string; port: number }
  readonly #socket: Socket
  sent = 0
  failed = 0

  constructor(address: string) {
    this.#to = splitAddress(address)
    this.#socket = createSocket(isIPv6(this.#to.host) ? 'udp6' : 'udp4').on('error', () => {})
  }

  async send(lines: readonly string[]): Promise<void> {
    for (const packet of packets(lines)) {
      await new Promise<void>((resolve) => {
        this.#socket.send(packet, this.#to.port, this.#to.host, (error) => {
          if (error) this.failed++
          else this.sent++
          resolve()
        })
      })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()))
  }
}
