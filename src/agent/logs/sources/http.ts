import type { IncomingMessage, ServerResponse } from 'node:http'
import { readBody } from '../../../api/http/body.ts'
import { messageOf, OutriderError } from '../../../errors.ts'
import { createServer } from '../../../transport/node-http.ts'
import type { AgentRoute } from '../../role.ts'
import { timeParser } from '../formats/time.ts'
import type { Intake, Source } from '../intake.ts'
import type { HttpSourceSpec } from '../spec.ts'
import { bytesOf } from '../values.ts'
import { eventsOfBody, NotEvents } from './http-events.ts'

const parseTime = timeParser(undefined)

interface Post {
  /** What the path says behind the prefix; empty: nothing. */
  said: string
  type: string
  time: string | null
  body: Buffer
}

/** Events that are posted: each answer comes when its events are on disk, or at once when there is no room. */
export class HttpSource implements Source {
  readonly #tag: string
  readonly #spec: HttpSourceSpec
  readonly #intake: Intake
  #close: (() => Promise<void>) | undefined
  port = 0

  constructor(tag: string, spec: HttpSourceSpec, intake: Intake) {
    this.#tag = tag
    this.#spec = spec
    this.#intake = intake
  }

  get #limit(): number {
    return bytesOf(this.#spec.maxBody, 4 << 20)
  }

  /** Routes on the agents' port; empty when the source has a port of its own. */
  routes(): AgentRoute[] {
    if (this.#spec.port !== undefined) return []
    const path = this.#spec.path ?? '/log'
    const handle: AgentRoute['handle'] = async ({ request, response, params, query, body }) =>
      this.#answer(response, {
        said: params.tag ?? query.get('tag') ?? '',
        type: request.headers['content-type'] ?? '',
        time: query.get('time'),
        body: await body(this.#limit),
      })
    return [
      { methods: ['POST'], path, handle },
      { methods: ['POST'], path: `${path}/:tag`, handle },
    ]
  }

  /** Opens the port of its own, if it has one; rejects when somebody else has it. */
  async listen(): Promise<void> {
    const { port, host = '127.0.0.1', path = '/' } = this.#spec
    if (port === undefined) return
    const server = createServer((request, response) => void this.#serve(request, response, path))
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(new Error(`port ${port} for logs over HTTP cannot be opened: ${error.message}`)))
      server.listen({ host, port }, resolve)
    })
    const address = server.address()
    this.port = address && typeof address === 'object' ? address.port : port
    this.#close = () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
        setTimeout(() => server.closeAllConnections(), 1000).unref()
      })
  }

  async #serve(request: IncomingMessage, response: ServerResponse, prefix: string): Promise<void> {
    try {
      const url = new URL(request.url ?? '/', 'http://log')
      if (request.method === 'GET') return void response.writeHead(200).end('ok\n')
      if (request.method !== 'POST' && request.method !== 'PUT') return reply(response, 405, 'post events')
      if (!url.pathname.startsWith(prefix)) return reply(response, 404, `events are posted below ${prefix}`)
      const said = url.pathname.slice(prefix.length)
      const body = await readBody(request, this.#limit)
      await this.#answer(response, { said, type: request.headers['content-type'] ?? '', time: url.searchParams.get('time'), body })
    } catch (error) {
      if (response.headersSent) return void response.destroy()
      reply(response, error instanceof OutriderError ? error.http : 500, messageOf(error))
    }
  }

  async #answer(response: ServerResponse, { said, type, time, body }: Post): Promise<void> {
    if (this.#intake.full) {
      response.setHeader('retry-after', '1')
      return reply(response, 503, 'the buffer of logs is full; send again later')
    }
    const tag =
      decode(said)
        .replaceAll(/^\/+|\/+$/g, '')
        .replaceAll('/', '.') || this.#tag
    try {
      const events = eventsOfBody(body, type, tag, (time === null ? undefined : parseTime(time)) ?? Date.now())
      await this.#intake.take(events)
      reply(response, 200, undefined, events.length)
    } catch (error) {
      if (!(error instanceof NotEvents)) throw error
      reply(response, 400, error.message)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close?.()
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function reply(response: ServerResponse, status: number, message: string | undefined, accepted = 0): void {
  const body = JSON.stringify(message === undefined ? { accepted } : { errorCode: 'ERR_LOG', message })
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }).end(body)
}
