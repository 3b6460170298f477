import type { IncomingHttpHeaders } from 'node:http'
import type { SinkRequest } from '../../app/http-channel.ts'
import type { ResponseSink, ResponseSource } from '../../app/response-sink.ts'

type Cancel = (reason?: Error) => void

/** Redirections that are followed, as Go's clients do. */
const MOST = 10
/** Bytes of a redirection's body that are read past, to keep its connection. */
const SKIPPED = 64 * 1024
/** Fields that another server must not see. */
const SECRET = new Set(['authorization', 'cookie', 'www-authenticate', 'proxy-authorization'])

export interface RedirectedOptions {
  verb: string
  /** Where the first request goes; asked only when that matters. */
  url(): URL
  /** `[name, value, …]` of the first request. */
  headers: readonly string[]
  /** Names in lower case of fields that only the first server may see, besides those that are known for it. */
  secret: ReadonlySet<string>
  /** Sends the first request. */
  start(sink: ResponseSink): Cancel
  /** Sends a further one. */
  go(url: URL, request: SinkRequest, sink: ResponseSink): Cancel
}

/**
 * A call that follows 301, 302 and 303 with GET (HEAD stays HEAD), as daprd does for HTTPEndpoints: asked → moved → asked again
 * … → the last reply passes to the sink. 307 and 308 pass as they are: the body is gone. Returns what gives the call up.
 */
export function callRedirected(options: RedirectedOptions, sink: ResponseSink): Cancel {
  const { verb, go, start, secret } = options
  let { headers } = options
  let url: URL | undefined
  let moves = 0
  let over = false
  let cancel: Cancel | undefined
  const hop = (from: URL, target: URL) => {
    if (++moves > MOST) {
      over = true
      return sink.failed(new Error(`stopped after ${MOST} redirects`))
    }
    headers = nextHeaders(headers, secret, from, target)
    url = target
    const request = { method: verb === 'HEAD' ? 'HEAD' : 'GET', path: target.pathname + target.search, headers: [...headers] }
    try {
      cancel = go(target, request, attempt())
    } catch (error) {
      over = true
      sink.failed(error instanceof Error ? error : new Error(String(error)))
    }
  }
  const attempt = (): ResponseSink => {
    let target: URL | undefined
    let skipped = 0
    let from: ResponseSource | undefined
    const base = () => {
      url ??= options.url()
      return url
    }
    return {
      head(status: number, fields: IncomingHttpHeaders, source: ResponseSource) {
        const { location } = fields
        from = source
        if (status >= 301 && status <= 303 && typeof location === 'string' && URL.canParse(location, base().href))
          target = new URL(location, base())
        else sink.head(status, fields, source)
      },
      data(chunk) {
        if (!target) return sink.data(chunk)
        skipped += chunk.length
        if (skipped <= SKIPPED || over) return
        from?.abort()
        hop(base(), target)
      },
      end() {
        if (over) return
        if (target) return hop(base(), target)
        over = true
        sink.end()
      },
      failed(error) {
        over = true
        sink.failed(error)
      },
    }
  }
  cancel = start(attempt())
  return (reason) => {
    over = true
    cancel?.(reason)
  }
}

function nextHeaders(headers: readonly string[], secret: ReadonlySet<string>, from: URL, to: URL): string[] {
  const next: string[] = []
  const away = from.origin !== to.origin
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase()
    if (name === 'referer' || name.startsWith('content-') || (away && (SECRET.has(name) || secret.has(name)))) continue
    next.push(headers[i] as string, headers[i + 1] as string)
  }
  // Never from https to http, and without a user and password, as browsers and Go do.
  if (from.protocol === to.protocol || to.protocol === 'https:') next.push('Referer', `${from.origin}${from.pathname}${from.search}`)
  return next
}
