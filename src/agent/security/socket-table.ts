import { readdirSync } from 'node:fs'
import type { Value } from './fields.ts'
import { link, parseSockets, type SocketRow, text } from './proc-files.ts'

export type SocketEventType = 'listen' | 'bind' | 'connect' | 'accept'
export type OnSocket = (type: SocketEventType, row: SocketRow, pid: number | undefined) => void

const [ESTABLISHED, SYN_SENT, UNCONNECTED, LISTENING] = [1, 2, 7, 10]
/** Sockets that are remembered. */
const MOST = 50_000

/** Sockets of this network namespace, in rounds: what is opened and closed between two of them is not seen. */
export class SocketTable {
  readonly #proc: string
  #known = new Set<string>()
  #first = true

  constructor(proc: string) {
    this.#proc = proc
  }

  get size(): number {
    return this.#known.size
  }

  /** One round; `pids` are those whose sockets are looked up. The first one only remembers. */
  look(pids: () => readonly number[], onSocket: OnSocket): void {
    // A proc file system of elsewhere shows its own first process's network.
    const net = this.#proc === '/proc' ? '/proc/self/net' : `${this.#proc}/1/net`
    // Without an inode no process has taken the connection yet: it is told when one has.
    const rows = [...tables(net, 'tcp'), ...tables(net, 'udp')].filter(({ protocol, state, localPort, inode }) =>
      protocol === 'tcp' ? inode > 0 && [ESTABLISHED, SYN_SENT, LISTENING].includes(state) : state === UNCONNECTED && localPort > 0,
    )
    const listening = new Set(
      rows.filter(({ state, protocol }) => protocol === 'tcp' && state === LISTENING).map(({ localPort }) => localPort),
    )
    const now = new Set<string>()
    const fresh: SocketRow[] = []
    for (const row of rows) {
      const key = `${row.protocol} ${row.localIp} ${row.localPort} ${row.remoteIp} ${row.remotePort} ${row.state === LISTENING}`
      if (now.size < MOST) now.add(key)
      if (!this.#known.has(key)) fresh.push(row)
    }
    this.#known = now
    const first = this.#first
    this.#first = false
    if (first || fresh.length === 0) return
    const owners = this.#owners(new Set(fresh.map(({ inode }) => inode)), pids())
    for (const row of fresh) {
      const type =
        row.protocol === 'udp' ? 'bind' : row.state === LISTENING ? 'listen' : listening.has(row.localPort) ? 'accept' : 'connect'
      onSocket(type, row, owners.get(row.inode))
    }
  }

  /** Which process has a socket: only those of the same user can be looked into, all of them by root. */
  #owners(inodes: ReadonlySet<number>, pids: readonly number[]): Map<number, number> {
    const owners = new Map<number, number>()
    for (const pid of pids) {
      let descriptors: string[]
      try {
        descriptors = readdirSync(`${this.#proc}/${pid}/fd`)
      } catch {
        continue
      }
      for (const fd of descriptors.slice(0, 4096)) {
        const inode = Number(/^socket:\[(\d+)\]$/.exec(link(`${this.#proc}/${pid}/fd/${fd}`) ?? '')?.[1])
        if (inodes.has(inode) && !owners.has(inode)) owners.set(inode, pid)
      }
      if (owners.size === inodes.size) break
    }
    return owners
  }
}

function tables(net: string, protocol: 'tcp' | 'udp'): SocketRow[] {
  return ['', '6'].flatMap((version) => parseSockets(text(`${net}/${protocol}${version}`) ?? '', protocol))
}

/** Falco's fields of a socket: the client is who connects. */
export function socketFields(type: SocketEventType, row: SocketRow): Record<string, Value> {
  const { localIp, localPort, remoteIp, remotePort, version, protocol } = row
  const common = {
    'fd.type': `ipv${version}`,
    'fd.typechar': String(version),
    'fd.l4proto': protocol,
    'fd.num': 0,
    'fd.sockfamily': 'ip',
    'fd.name_changed': type === 'connect',
    'fd.connected': type === 'connect' || type === 'accept',
  }
  if (type === 'listen' || type === 'bind')
    return {
      ...common,
      'fd.name': `${localIp}:${localPort}`,
      'fd.lip': localIp,
      'fd.lport': localPort,
      'fd.sip': localIp,
      'fd.sport': localPort,
      'fd.ip': [localIp],
      'fd.port': [localPort],
    }
  const [client, clientPort, server, serverPort] =
    type === 'connect' ? [localIp, localPort, remoteIp, remotePort] : [remoteIp, remotePort, localIp, localPort]
  return {
    ...common,
    'fd.name': `${client}:${clientPort}->${server}:${serverPort}`,
    'fd.cip': client,
    'fd.cport': clientPort,
    'fd.sip': server,
    'fd.sport': serverPort,
    'fd.lip': localIp,
    'fd.lport': localPort,
    'fd.rip': remoteIp,
    'fd.rport': remotePort,
    'fd.ip': [client, server],
    'fd.port': [clientPort, serverPort],
  }
}
