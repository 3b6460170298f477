import type { Socket } from 'node:net'
import { parseHead, type ReplyHead } from '../../transport/http1/reply-head.ts'
import { ReplyParser } from '../../transport/http1/reply-parser.ts'
import { requestHead } from '../../transport/http1/request-head.ts'
import { OF_CONNECTION } from '../cluster/attempt.ts'
import type { ClusterRuntime } from '../cluster/cluster.ts'
import type { Host } from '../cluster/host.ts'
import { join } from '../net/join.ts'
import { openSocket } from '../net/open-socket.ts'
import type { ProxyExchange } from './exchange.ts'
import { put } from './fields.ts'

export interface TunnelOptions {
  path: string
  authority: string
  /** The upstream has answered, with 101 or something else. */
  answered(status: number): void
  failed(error: Error): void
  /** An answer that changed no protocol has come to its end. */
  ended(): void
}

const MAX_HEAD = 65_536

/** A request for another protocol: once the upstream answers with 101, the bytes of both connections are passed on as they are. */
export class Tunnel {
  readonly #exchange: ProxyExchange
  readonly #options: TunnelOptions
  readonly #upstream: Socket
  #head: Buffer = Buffer.alloc(0)
  #over = false

  constructor(exchange: ProxyExchange, host: Host, cluster: ClusterRuntime, options: TunnelOptions) {
    this.#exchange = exchange
    this.#options = options
    this.#upstream = openSocket(cluster, host, ['http/1.1'], (error) => {
      if (this.#over) return
      if (error) return this.#fail(error)
      this.#send()
    })
  }

  #send(): void {
    const { method, fields, downstream } = this.#exchange
    const { path, authority } = this.#options
    try {
      const extra = `connection: Upgrade\r\nupgrade: ${downstream.upgrade}\r\n`
      const { text } = requestHead({ method, path, headers: ['host', authority, ...fields] }, '', extra)
      this.#upstream.write(text, 'latin1')
    } catch (error) {
      return this.#fail(error as Error)
    }
    const read = (chunk: Buffer) => {
      this.#head = this.#head.length === 0 ? chunk : Buffer.concat([this.#head, chunk])
      const stop = this.#head.indexOf('\r\n\r\n')
      if (stop < 0) return this.#head.length > MAX_HEAD ? this.#fail(new Error('the head of the reply is too large')) : undefined
      this.#upstream.off('data', read).off('close', lost)
      try {
        this.#answered(parseHead(this.#head.toString('latin1', 0, stop + 2)), stop + 4)
      } catch (error) {
        this.#fail(error as Error)
      }
    }
    const lost = () => this.#fail(new Error('the connection was closed before an answer'))
    this.#upstream.on('data', read).on('close', lost)
  }

  #answered(head: ReplyHead, end: number): void {
    const exchange = this.#exchange
    const { status } = head
    this.#options.answered(status)
    if (status !== 101) return this.#refused()
    const fields: string[] = []
    for (const [name, value] of Object.entries(head.headers))
      if (!OF_CONNECTION.has(name)) for (const one of Array.isArray(value) ? value : [value]) fields.push(name, String(one))
    const client = exchange.downstream.detach()
    if (!client) return this.#fail(new Error('the client has no connection of its own'))
    const { figures } = exchange.handler
    ;(figures.downstream_cx_upgrades_total as number)++
    ;(figures.downstream_cx_upgrades_active as number)++
    exchange.status = 101
    exchange.details = 'via_upstream'
    put(fields, 'connection', 'upgrade')
    put(fields, 'upgrade', String(head.headers.upgrade ?? exchange.downstream.upgrade))
    let text = 'HTTP/1.1 101 Switching Protocols\r\n'
    for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`
    client.write(`${text}\r\n`, 'latin1')
    const rest = this.#head.subarray(end)
    if (rest.length > 0) client.write(rest)
    this.#head = Buffer.alloc(0)
    join(client, this.#upstream, {
      onBytes: (received, sent) => exchange.tunnelled(received, sent),
      onEnd: () => {
        ;(figures.downstream_cx_upgrades_active as number)--
        exchange.clientGone(true)
      },
    })
  }

  /** It is another answer, which is passed on like any other. */
  #refused(): void {
    const exchange = this.#exchange
    const upstream = this.#upstream
    const parser = new ReplyParser(
      {
        onHead: ({ status, headers, length }) => {
          const fields: string[] = []
          for (const [name, value] of Object.entries(headers))
            if (!OF_CONNECTION.has(name)) for (const one of Array.isArray(value) ? value : [value]) fields.push(name, String(one))
          if (length >= 0) fields.push('content-length', String(length))
          exchange.reply(status, fields)
        },
        onBody: (chunk) => {
          if (!exchange.write(chunk)) upstream.pause()
        },
        onEnd: () => {
          this.#over = true
          upstream.destroy()
          this.#options.ended()
          exchange.endReply([])
        },
      },
      { maxHeaderSize: MAX_HEAD, shortBodies: 0 },
    )
    const feed = (work: () => void) => {
      try {
        if (!this.#over) work()
      } catch (error) {
        this.#fail(error as Error)
      }
    }
    parser.begin(false)
    upstream.on('data', (chunk: Buffer) => feed(() => parser.push(chunk, chunk.length, false)))
    upstream.on('end', () => feed(() => parser.eof()))
    upstream.on('error', (error) => this.#fail(error))
    const head = this.#head
    feed(() => parser.push(head, head.length, false))
  }

  #fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    this.#upstream.destroy()
    this.#options.failed(error)
  }

  clientDrained(): void {
    this.#upstream.resume()
  }

  close(): void {
    this.#over = true
    this.#upstream.destroy()
  }
}
