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
 * Asks the kernel by getsockopt, for which Node has no call: through node:ffi, which loads here. Undefined: this is no Linux, or a
 * Node without it.
 */
export function openOriginalDestination(): OriginalDestination | undefined {
  const ffi = process.getBuiltinModule('node:ffi') as typeof import('node:ffi') | undefined
  if (process.platform !== 'linux' || !ffi) return undefined
  const { getsockopt } = ffi.dlopen(null, {
    getsockopt: { arguments: ['int32', 'int32', 'int32', 'buffer', 'buffer'], return: 'int32' },
  }).functions
  return (socket) => {
    const fd = (socket as Socket & { _handle?: { fd?: number } })._handle?.fd
    if (fd === undefined || fd < 0) return undefined
    const value = Buffer.alloc(SIZE)
    const mapped = socket.localAddress?.startsWith('::ffff:')
    const level = socket.localFamily === 'IPv6' && !mapped ? SOL_IPV6 : SOL_IP
    const length = Buffer.from(new Uint32Array([SIZE]).buffer)
    return getsockopt(fd, level, SO_ORIGINAL_DST, value, length) === 0 ? addressOf(value) : undefined
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
