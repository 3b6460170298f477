import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { pipeline } from 'node:stream'
import { HOP_BY_HOP } from '../transport/hop-by-hop.ts'
import { HttpCallError } from '../transport/http1/errors.ts'
import { type Carrier, type Exchange, givenUp } from '../transport/http1/exchange.ts'

export interface H2cPoolOptions {
  host: string
  port: number
  /** Fields of every request, `[name, value]`. */
  extra: readonly (readonly [string, string])[]
}

/** HTTP/2 has framing and connections of its own: these fields may not go with it. */
const NEVER = new Set([...HOP_BY_HOP.filter((name) => !name.startsWith('proxy-auth')), 'expect'])

/** One connection to an app over HTTP/2 in cleartext with prior knowledge, opened anew when it is lost. */
export class H2cPool {
  readonly #authority: string
  #extra: OutgoingHttpHeaders
  readonly #streams = new Set<ClientHttp2Stream>()
  #session: ClientHttp2Session | undefined
  #closed = false

  constructor({ host, port, extra }: H2cPoolOptions) {
    this.#authority = `http://${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`
    this.#extra = Object.fromEntries(extra)
  }

  /** Fields that requests get from now on, in place of those of before. */
  setExtra(extra: H2cPoolOptions['extra']): void {
    this.#extra = Object.fromEntries(extra)
  }

  dispatch(exchange: Exchange): void {
    try {
      if (this.#closed) throw new HttpCallError('ECANCELED', 'the client is closed')
      this.#send(exchange)
    } catch (error) {
      process.nextTick(() => exchange.onError(error as Error))
    }
  }

  #open(): ClientHttp2Session {
    const known = this.#session
    if (known && !known.closed && !known.destroyed) return known
    // Few apps speak h2c: the module loads for those only.
    const session = process.getBuiltinModule('node:http2').connect(this.#authority)
    this.#session = session
    // The streams tell of it.
    session.on('error', () => {})
    session.on('close', () => {
      if (this.#session === session) this.#session = undefined
    })
    return session
  }

  #send(exchange: Exchange): void {
    const { method, path, body } = exchange.request
    const headers = this.#headers(exchange)
    const stream = this.#open().request({ ':method': method, ':path': path, ...headers }, { endStream: body === undefined })
    this.#streams.add(stream)
    const carrier: Carrier = {
      pause: () => stream.pause(),
      resume: () => stream.resume(),
      drop: () => stream.close(process.getBuiltinModule('node:http2').constants.NGHTTP2_CANCEL),
    }
    exchange.carrier = carrier
    stream.on('response', (fields) => exchange.onHead(Number(fields[':status']), plain(fields)))
    stream.on('data', (chunk: Buffer) => exchange.onData(chunk))
    stream.on('end', () => {
      // An aborted stream ends as well.
      if (!stream.aborted && stream.rstCode === 0) exchange.onEnd()
    })
    // A connection that did not come up cancels its streams, and is the reason that matters.
    stream.on('error', (error) => exchange.onError(error.cause instanceof Error ? error.cause : error))
    stream.on('close', () => {
      this.#streams.delete(stream)
      exchange.onError(new HttpCallError('ECONNRESET', 'the server closed the stream before the end of its reply'))
    })
    if (Buffer.isBuffer(body)) stream.end(body)
    else if (body)
      pipeline(body, stream, (error) => {
        if (error && body.errored) exchange.onError(error)
      })
  }

  #headers({ request: { headers, body } }: Exchange): OutgoingHttpHeaders {
    const fields: OutgoingHttpHeaders = {}
    const add = (given: string, value: string | readonly string[]) => {
      const name = given.toLowerCase()
      if (NEVER.has(name) || name === 'host' || (name === 'content-length' && (body === undefined || Buffer.isBuffer(body)))) return
      const before = fields[name]
      fields[name] = before === undefined ? (value as string | string[]) : [before, value].flat().map(String)
    }
    if (Array.isArray(headers)) for (let i = 0; i + 1 < headers.length; i += 2) add(headers[i], headers[i + 1])
    else for (const [name, value] of Object.entries(headers as Record<string, string | readonly string[]>)) add(name, value)
    if (Buffer.isBuffer(body)) fields['content-length'] = String(body.length)
    return { ...fields, ...this.#extra }
  }

  /** Takes no more requests and lets those under way finish. */
  async close(): Promise<void> {
    this.#closed = true
    const session = this.#session
    if (session && !session.destroyed) await new Promise<void>((resolve) => session.close(resolve))
  }

  /** Ends everything now. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    for (const stream of [...this.#streams]) stream.destroy(givenUp())
    this.#session?.destroy()
  }
}

function plain(fields: IncomingHttpHeaders): IncomingHttpHeaders {
  const headers: IncomingHttpHeaders = {}
  for (const name in fields) if (!name.startsWith(':')) headers[name] = fields[name]
  return headers
}
