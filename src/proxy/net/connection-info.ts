import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { ConnectionInfo } from '../http/downstream.ts'
import { peerOf } from '../tls.ts'
import { plainAddress } from './chains.ts'

let connections = 0

/** What there is to know of a connection that a client has made. */
export function connectionInfo(socket: Socket, original: ConnectionInfo['original']): ConnectionInfo {
  const secure = socket instanceof TLSSocket
  const peer = secure ? peerOf(socket) : undefined
  return {
    id: ++connections,
    remoteAddress: plainAddress(socket.remoteAddress),
    remotePort: socket.remotePort ?? 0,
    localAddress: original?.host ?? plainAddress(socket.localAddress),
    localPort: original?.port ?? socket.localPort ?? 0,
    secure,
    serverName: secure ? (socket as TLSSocket & { servername?: string | false }).servername || undefined : undefined,
    verified: peer?.verified ?? false,
    peerSubject: peer?.subject,
    peerUris: peer?.uris ?? [],
    peerDns: peer?.dns ?? [],
    tlsVersion: secure ? (socket.getProtocol() ?? undefined) : undefined,
    original,
  }
}
