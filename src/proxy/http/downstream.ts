import type { Socket } from 'node:net'

/** One connection of a client. */
export interface ConnectionInfo {
  readonly id: number
  /** Without the prefix that IPv4 has on IPv6 sockets; empty on unix sockets. */
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  readonly localPort: number
  readonly secure: boolean
  /** What the client asked for by TLS. */
  readonly serverName: string | undefined
  /** The client has shown a certificate that was looked at and found good. */
  readonly verified: boolean
  readonly peerSubject: string | undefined
  readonly peerUris: readonly string[]
  readonly peerDns: readonly string[]
  readonly tlsVersion: string | undefined
  /** Where the client wanted to go before iptables sent it here. */
  readonly original: { host: string; port: number } | undefined
}

/** Who hears of a request. */
export interface DownstreamSink {
  requestData(chunk: Buffer): void
  /** The request is here whole, and its trailers are known. */
  requestEnd(): void
  /** After `write` returned false: there is room again. */
  replyDrained(): void
  /** It is over; `complete`: the reply has gone out whole. */
  clientGone(complete: boolean): void
}

/** A request of a client and its reply, whatever the protocol. */
export interface Downstream {
  readonly protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
  readonly method: string
  /** Path and query. */
  readonly path: string
  readonly authority: string
  /** Names in lower case and values in turn, without framing and what belongs to the connection. */
  readonly fields: string[]
  /** All of the body where it is there already. */
  readonly body: Buffer | undefined
  /** The body is still to come. */
  readonly streaming: boolean
  /** What came after the body, once that has ended: names in lower case and values in turn. */
  readonly trailers: readonly string[]
  /** Bytes of a body that is still to come, where they are known. */
  readonly length: number | undefined
  readonly connection: ConnectionInfo
  /** The protocol that the client wants to change to, in lower case. */
  readonly upgrade: string | undefined
  readonly headersSent: boolean
  sink: DownstreamSink | undefined
  respond(status: number, fields: readonly string[]): void
  write(chunk: Buffer): boolean
  end(trailers: readonly string[]): void
  /** Cuts the reply, so that the client does not take it for whole. */
  reset(): void
  /** Holds the request back at the client. */
  pause(): void
  resume(): void
  /** The socket itself, paused; undefined where there is none to be had. */
  detach(): Socket | undefined
}
