import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { networkInterfaces } from 'node:os'

/** RFC 6762, 3. */
export const MDNS_PORT = 5353
const GROUPS = { udp4: '224.0.0.251', udp6: 'ff02::fb' } as const
/** A machine of many containers has an interface for each; the first of them are served. */
const INTERFACE_LIMIT = 64

export interface MulticastOptions {
  /** Default 5353; other programs share it. */
  port?: number
  onMessage(bytes: Buffer, from: RemoteInfo): void
  onProblem(problem: string): void
}

/** The multicast group of mDNS on every interface of this machine, by IPv4 and IPv6. */
export interface Multicast extends Disposable {
  /** False when neither family has a socket. */
  readonly open: boolean
  /** Sends at once on every interface: to this machine only, or to everybody on the link. Errors are reported, never thrown. */
  send(bytes: Buffer, reach: 'machine' | 'link'): void
  reply(bytes: Buffer, to: RemoteInfo): void
  /** Joins interfaces that came up since. */
  refresh(): void
}

type Family = keyof typeof GROUPS

class Group {
  readonly socket: Socket
  readonly #family: Family
  readonly #port: number
  readonly #joined = new Set<string>()
  readonly #problem: (problem: string) => void
  #interfaces: string[] = []

  constructor(family: Family, options: MulticastOptions) {
    this.#family = family
    this.#port = options.port ?? MDNS_PORT
    this.#problem = options.onProblem
    // A literal address needs no looking up, and without it a datagram leaves in this very turn, under the options just set.
    const lookup = (host: string, wanted: unknown, callback: (error: null, address: string, family: number) => void) =>
      callback(null, host, Number(wanted))
    this.socket = createSocket({ type: family, reuseAddr: true, ipv6Only: family === 'udp6', lookup: lookup as never })
    this.socket.unref()
  }

  /** Resolves to whether the socket works. */
  async bind(onMessage: MulticastOptions['onMessage']): Promise<boolean> {
    const bound = await new Promise<boolean>((resolve) => {
      this.socket.once('error', (error) => {
        this.#problem(`port ${this.#port} (${this.#family}): ${error.message}`)
        resolve(false)
      })
      // Bound to the group where the system can: what is sent to another program's port 5353 alone stays with that program.
      const everything = this.#family === 'udp4' ? '0.0.0.0' : '::'
      const address = this.#family === 'udp4' && process.platform !== 'win32' ? GROUPS.udp4 : everything
      this.socket.bind({ port: this.#port, address }, () => resolve(true))
    })
    this.socket.on('error', (error) => this.#problem(`${this.#family}: ${error.message}`))
    if (!bound) return false
    this.socket.on('message', onMessage)
    this.refresh()
    return true
  }

  refresh(): void {
    const wanted: string[] = []
    for (const [name, addresses] of Object.entries(networkInterfaces()).slice(0, INTERFACE_LIMIT)) {
      if (this.#family === 'udp6') {
        if (addresses?.some((address) => address.family === 'IPv6')) wanted.push(process.platform === 'win32' ? '::' : `::%${name}`)
        continue
      }
      const first = addresses?.find((address) => address.family === 'IPv4')
      if (first) wanted.push(first.address)
    }
    for (const one of this.#joined) if (!wanted.includes(one)) this.#joined.delete(one)
    for (const one of wanted) {
      if (this.#joined.has(one)) continue
      try {
        this.socket.addMembership(GROUPS[this.#family], one)
        this.#joined.add(one)
      } catch (error) {
        // An interface that left and came back keeps its membership.
        if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') this.#joined.add(one)
        else this.#problem(`cannot join on ${one}: ${(error as Error).message}`)
      }
    }
    this.#interfaces = [...this.#joined]
  }

  send(bytes: Buffer, reach: 'machine' | 'link'): void {
    for (const one of this.#interfaces) {
      try {
        this.socket.setMulticastInterface(one)
        this.socket.setMulticastTTL(reach === 'machine' ? 0 : 255)
        this.socket.send(bytes, this.#port, GROUPS[this.#family], (error) => error && this.#problem(`on ${one}: ${error.message}`))
      } catch (error) {
        this.#problem(`on ${one}: ${(error as Error).message}`)
      }
    }
  }
}

/** Opens both sockets. A family or interface without multicast is reported and passed over. */
export async function openMulticast(options: MulticastOptions): Promise<Multicast> {
  const reported = new Set<string>()
  let closed = false
  const onProblem = (problem: string) => {
    if (closed || reported.has(problem) || reported.size > 100) return
    reported.add(problem)
    options.onProblem(problem)
  }
  const groups: Group[] = []
  for (const family of ['udp4', 'udp6'] as const) {
    const group = new Group(family, { ...options, onProblem })
    if (await group.bind(options.onMessage)) groups.push(group)
    else group.socket.close()
  }
  return {
    get open() {
      return !closed && groups.length > 0
    },
    send(bytes, reach) {
      if (!closed) for (const group of groups) group.send(bytes, reach)
    },
    reply(bytes, to) {
      const group = groups.find(({ socket }) => (socket.address().family === 'IPv6') === (to.family === 'IPv6'))
      if (!closed) group?.socket.send(bytes, to.port, to.address, (error) => error && onProblem(`to ${to.address}: ${error.message}`))
    },
    refresh() {
      if (!closed) for (const group of groups) group.refresh()
    },
    [Symbol.dispose]() {
      if (closed) return
      closed = true
      for (const { socket } of groups) socket.close()
    },
  }
}
