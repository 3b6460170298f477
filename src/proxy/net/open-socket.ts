import { connect, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import type { Host } from '../cluster/host.ts'

/** A connection of its own to an endpoint. `alpn`: what to offer where TLS is spoken. */
export function openSocket(cluster: ClusterRuntime, { endpoint }: Host, alpn: readonly string[], opened: (error?: Error) => void): Socket {
  const at = endpoint.path === undefined ? { host: endpoint.host, port: endpoint.port } : { path: endpoint.path }
  const { tls } = cluster
  const socket = tls
    ? connectTls({ ...(alpn.length > 0 ? { ALPNProtocols: [...alpn] } : {}), ...tls, ...at, allowHalfOpen: true } as ConnectionOptions & {
        allowHalfOpen: boolean
      })
    : connect({ ...at, allowHalfOpen: true, noDelay: true })
  let told = false
  const tell = (error?: Error) => {
    if (told) return
    told = true
    clearTimeout(timer)
    if (error) socket.destroy()
    opened(error)
  }
  const { connectTimeout } = cluster.model
  const timer = setTimeout(() => tell(new Error(`no connection within ${connectTimeout} ms`)), connectTimeout)
  socket.once(tls ? 'secureConnect' : 'connect', () => tell())
  socket.once('error', tell)
  socket.once('close', () => tell(new Error('the connection was closed')))
  return socket
}
