import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { NodeConnectionOptions } from '@nats-io/transport-node'
import { messageOf } from '../../errors.ts'

const LIMIT = 2000
/** How long after its handshake a server may refuse our certificate: in TLS 1.3 the client's part is the last. */
const VERDICT = 500

/**
 * Why the first of the servers ends a TLS connection; undefined when it does not. The library hears of nothing that happens
 * between handshake and login, and only says that it took too long.
 */
export async function tlsRefusal({ servers, tls }: NodeConnectionOptions): Promise<Error | undefined> {
  const server = Array.isArray(servers) ? servers[0] : servers
  if (!tls || !server) return undefined
  const { hostname, port } = new URL(`nats://${server}`)
  const read = async (file: string | undefined) => (file ? await readFile(file) : undefined)
  const [cert, key] = await Promise.all([read(tls.certFile), read(tls.keyFile)]).catch(() => [])
  const socket = connect(Number(port), hostname)
  const { promise, resolve } = Promise.withResolvers<Error | undefined>()
  const timer = setTimeout(() => resolve(undefined), LIMIT)
  socket.on('error', () => resolve(undefined))
  // It says who it is in the clear first.
  socket.once('data', () => {
    const secure = connectTls({ socket, servername: hostname, ...(cert && key ? { cert, key } : {}) })
    secure.on('error', (error) => resolve(error instanceof Error ? error : new Error(messageOf(error))))
    secure.once('secureConnect', () => setTimeout(() => resolve(undefined), VERDICT).unref())
  })
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}
