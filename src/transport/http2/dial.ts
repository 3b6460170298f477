import { createConnection, type OnReadOpts, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { sharedBuffer } from '../shared-read.ts'

/** Where a connection goes. */
export interface Target {
  /** As given: `host:port`, or `unix:/path/of.socket`; what follows a slash after the port is for `tls`. */
  readonly address: string
  /** For `:scheme`. */
  readonly scheme: 'http' | 'https'
  /** For `:authority`. */
  readonly authority: string
}

/** TLS of a client; as a function, asked anew for each connection. */
export type ClientTls = ConnectionOptions | ((address: string) => ConnectionOptions) | undefined

export function targetOf(address: string, tls: ClientTls): Target {
  if (address.startsWith('unix:')) return { address, scheme: 'http', authority: 'localhost' }
  const slash = address.indexOf('/')
  return { address, scheme: tls ? 'https' : 'http', authority: slash < 0 ? address : address.slice(0, slash) }
}

/** A connection that begins, and how it is read. */
export interface Dialled {
  readonly socket: Socket
  /** Hands what comes to this function, in memory that is used again as soon as it returns. Absent: the socket has `data` events. */
  readonly feed?: (read: (chunk: Buffer) => void) => void
}

/** Read into the memory that all connections share: each read is looked at before the next. */
function fed(open: (onread: OnReadOpts) => Socket): Dialled {
  let read: ((chunk: Buffer) => void) | undefined
  const buffer = sharedBuffer()
  const socket = open({
    buffer,
    callback(length) {
      read?.(buffer.subarray(0, length))
      return true
    },
  })
  return {
    socket,
    feed(given) {
      read = given
      // Nobody reads the socket itself, but its end is to be heard.
      socket.resume()
    },
  }
}

/** Begins a connection, with ALPN h2 where it is encrypted. Throws for an address that is none. */
export function dial(target: Target, tls: ClientTls): Dialled {
  const { address, authority } = target
  if (address.startsWith('unix:')) return fed((onread) => createConnection({ path: address.slice('unix:'.length), onread }))
  const colon = authority.lastIndexOf(':')
  const host = authority.slice(0, colon).replace(/^\[|\]$/g, '')
  const port = Number(authority.slice(colon + 1))
  if (colon < 0 || !Number.isInteger(port) || port <= 0 || port > 65_535)
    throw new Error(`${JSON.stringify(authority)} is no address: it must be host:port`)
  if (!tls) return fed((onread) => createConnection({ host, port, noDelay: true, onread }))
  const socket = connectTls({ host, port, ALPNProtocols: ['h2'], ...(typeof tls === 'function' ? tls(address) : tls) })
  socket.setNoDelay(true)
  return { socket }
}

/** Why an encrypted connection that stands cannot be used; undefined: it can. */
export function alpnFault(socket: Socket): Error | undefined {
  const { alpnProtocol } = socket as TLSSocket
  if (alpnProtocol === undefined || alpnProtocol === 'h2') return undefined
  return new Error('the server did not agree to HTTP/2 (ALPN h2)')
}
