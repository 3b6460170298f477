import type { Socket } from 'node:net'

/** Where a connection wanted to go before iptables sent it here; undefined: it was not sent here by that. */
export type OriginalDestination = (socket: Socket) => { host: string; port: number } | undefined

const SOL_IP = 0
const SOL_IPV6 = 41
/** The same number for both families. */
const SO_ORIGINAL_DST = 80
const AF_INET = 2
const AF_INET6 = 10
/** Bytes of the larger of both addresses (sockaddr_in6). */
const SIZE = 28

/**
 * Asks the kernel by getsockopt, for which Node has no call: through koffi, an optional dependency that loads here and nowhere else
 * (8 MiB). Undefined: it is not installed, or this is no Linux.
 */
export async function openOriginalDestination(): Promise<OriginalDestination | undefined> {
  if (process.platform !== 'linux') return undefined
  let getsockopt: (fd: number, level: number, name: number, value: Buffer, length: [number]) => number
  try {
    const { default: koffi } = await import('koffi')
    getsockopt = koffi.load(null).func('int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)')
  } catch {
    return undefined
  }
  return (socket) => {
    const fd = (socket as Socket & { _handle?: { fd?: number } })._handle?.fd
    if (fd === undefined || fd < 0) return undefined
    const value = Buffer.alloc(SIZE)
    const mapped = socket.localAddress?.startsWith('::ffff:')
    const level = socket.localFamily === 'IPv6' && !mapped ? SOL_IPV6 : SOL_IP
    return getsockopt(fd, level, SO_ORIGINAL_DST, value, [SIZE]) === 0 ? addressOf(value) : undefined
  }
}

/** Reads a sockaddr_in or sockaddr_in6: the family as this machine writes numbers, the rest as networks do. */
export function addressOf(value: Buffer): { host: string; port: number } | undefined {
  const family = new Uint16Array(value.buffer.slice(value.byteOffset, value.byteOffset + 2))[0]
  const port = value.readUInt16BE(2)
  if (family === AF_INET) return { host: value.subarray(4, 8).join('.'), port }
  if (family !== AF_INET6) return undefined
  const groups = Array.from({ length: 8 }, (_, index) => value.readUInt16BE(8 + index * 2).toString(16))
  return { host: groups.join(':'), port }
}
