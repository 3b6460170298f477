import { readFileSync, readlinkSync } from 'node:fs'

export interface ProcessInfo {
  pid: number
  ppid: number
  sid: number
  tty: number
  /** In ticks since the machine began: tells two processes of one number apart. */
  started: number
  name: string
  /** Words of the command line. */
  words: readonly string[]
  exepath: string | undefined
  cwd: string | undefined
  uid: number | undefined
  gid: number | undefined
  loginuid: number | undefined
  /** First twelve characters of the container's id; `host` outside of one. */
  container: string
}

/** Bytes of a command line that are kept. */
const LONGEST = 4096

/** Reads what /proc says of a process; undefined: it is gone. */
export function readProcess(proc: string, pid: number): ProcessInfo | undefined {
  const stat = text(`${proc}/${pid}/stat`)
  const parsed = stat === undefined ? undefined : parseStat(stat)
  if (!parsed) return undefined
  const status = text(`${proc}/${pid}/status`) ?? ''
  const number = (name: string) => {
    const found = new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]
    return found === undefined ? undefined : Number(found)
  }
  const loginuid = Number(text(`${proc}/${pid}/loginuid`) ?? Number.NaN)
  const container = /([0-9a-f]{64})/.exec(text(`${proc}/${pid}/cgroup`) ?? '')?.[1]
  const words = (text(`${proc}/${pid}/cmdline`) ?? '').slice(0, LONGEST).split('\0')
  if (words.at(-1) === '') words.pop()
  const exepath = link(`${proc}/${pid}/exe`)
  return {
    pid,
    ...parsed,
    // Node renames itself; rules, and Falco, know it by the name it was started with, fifteen characters of it.
    name: parsed.name.endsWith('MainThread') && exepath ? exepath.slice(exepath.lastIndexOf('/') + 1).slice(0, 15) : parsed.name,
    words,
    exepath,
    cwd: link(`${proc}/${pid}/cwd`),
    uid: number('Uid'),
    gid: number('Gid'),
    loginuid: Number.isNaN(loginuid) ? undefined : loginuid === 0xffffffff ? -1 : loginuid,
    container: container?.slice(0, 12) ?? 'host',
  }
}

/** `pid (name) state ppid pgrp session tty …`; the name may have brackets and spaces of its own. */
export function parseStat(stat: string): Pick<ProcessInfo, 'name' | 'ppid' | 'sid' | 'tty' | 'started'> | undefined {
  const open = stat.indexOf('(')
  const close = stat.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  const rest = stat.slice(close + 2).split(' ')
  const [, ppid, , sid, tty] = rest.map(Number)
  const started = Number(rest[19])
  if (![ppid, sid, tty, started].every(Number.isFinite)) return undefined
  return { name: stat.slice(open + 1, close), ppid: ppid as number, sid: sid as number, tty: tty as number, started }
}

export interface SocketRow {
  protocol: 'tcp' | 'udp'
  version: 4 | 6
  localIp: string
  localPort: number
  remoteIp: string
  remotePort: number
  /** As the kernel numbers them: 1 established, 2 SYN sent, 7 closed (UDP: bound), 10 listening. */
  state: number
  uid: number
  inode: number
}

/** Rows of /proc/net/{tcp,tcp6,udp,udp6}. */
export function parseSockets(table: string, protocol: 'tcp' | 'udp', most = 50_000): SocketRow[] {
  const rows: SocketRow[] = []
  for (const line of table.split('\n').slice(1)) {
    const [, local = '', remote = '', state = '', , , , uid, , inode] = line.trim().split(/\s+/)
    const here = addressOf(local)
    const there = addressOf(remote)
    if (!here || !there || rows.length >= most) continue
    rows.push({
      protocol,
      version: here.ip.includes(':') ? 6 : 4,
      localIp: here.ip,
      localPort: here.port,
      remoteIp: there.ip,
      remotePort: there.port,
      state: Number.parseInt(state, 16),
      uid: Number(uid),
      inode: Number(inode),
    })
  }
  return rows
}

/** `0100007F:1F90`: words of four bytes, each in the machine's order (little-endian here), and the port. An IPv4 address within IPv6 is shown as such. */
function addressOf(text: string): { ip: string; port: number } | undefined {
  const found = /^((?:[0-9A-Fa-f]{8}){1}|(?:[0-9A-Fa-f]{8}){4}):([0-9A-Fa-f]{4})$/.exec(text)
  if (!found) return undefined
  const bytes = Buffer.from(found[1] as string, 'hex').swap32()
  const port = Number.parseInt(found[2] as string, 16)
  if (bytes.length === 4) return { ip: [...bytes].join('.'), port }
  const mapped = bytes.subarray(0, 12).equals(Buffer.from('00000000000000000000ffff', 'hex'))
  if (mapped) return { ip: [...bytes.subarray(12)].join('.'), port }
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(at * 2).toString(16))
  const longest = /(^|:)0(:0)+(:|$)/g
  const zeros = [...groups.join(':').matchAll(longest)].sort((a, b) => b[0].length - a[0].length)[0]
  const whole = groups.join(':')
  return { ip: zeros ? `${whole.slice(0, zeros.index)}::${whole.slice(zeros.index + zeros[0].length)}` : whole, port }
}

export function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}

export function link(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}
