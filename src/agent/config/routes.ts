import { Code, OutriderError } from '../../errors.ts'
import { aborted } from '../../waiting.ts'
import { answer } from '../port.ts'
import type { AgentCall, AgentRoute } from '../role.ts'
import { evaluateAll } from './flags.ts'
import type { ConfigHub, View } from './hub.ts'
import { isTree } from './tree.ts'

type Part = 'config' | 'features'

/** Calls that wait, and streams, at one time. */
const MOST_WAITING = 1000
const LONGEST_WAIT = 600_000
/** Milliseconds between signs of life of a stream. */
const HEARTBEAT = 15_000

/** `GET /config…` and `GET /features…`: at once, when they change (long poll), or as they change (server-sent events). */
export class ConfigRoutes {
  readonly #hub: ConfigHub
  readonly #own: string
  #waiting = 0

  constructor(hub: ConfigHub, own: string) {
    this.#hub = hub
    this.#own = own
  }

  get waiting(): number {
    return this.#waiting
  }

  /** Below this prefix, which begins with a slash or is empty. */
  list(prefix: string): AgentRoute[] {
    const route = (path: string, part: Part): AgentRoute => ({
      methods: ['GET'],
      path: prefix + path,
      handle: (call) => this.#serve(call, part),
    })
    return [
      route('/config', 'config'),
      route('/config/:service', 'config'),
      route('/config/:service/*', 'config'),
      route('/features', 'features'),
      route('/features/:service', 'features'),
    ]
  }

  async #serve(call: AgentCall, part: Part): Promise<void> {
    const service = call.params.service ?? this.#own
    if (/\btext\/event-stream\b/.test(call.request.headers.accept ?? '')) return this.#stream(call, service, part)
    const wait = waitOf(call)
    const known = call.request.headers['if-none-match'] ?? quoted(call.query.get('version'))
    if (wait > 0 && known !== undefined) await this.#change(call, wait, () => this.#tag(service, part) !== known)
    if (call.signal.aborted) return void call.response.destroy()
    this.#answer(call, service, part, known)
  }

  #tag(service: string, part: Part): string | undefined {
    return this.#hub.missing.length > 0
      ? undefined
      : part === 'config'
        ? this.#hub.view(service).configTag
        : this.#hub.view(service).featuresTag
  }

  #answer(call: AgentCall, service: string, part: Part, known: string | undefined): void {
    const { response } = call
    const view = this.#view(call, service)
    if (!view) return
    const tag = part === 'config' ? view.configTag : view.featuresTag
    response.setHeader('etag', tag)
    response.setHeader('cache-control', 'no-cache')
    const since = this.#hub.staleSince
    if (since !== undefined) {
      response.setHeader('outrider-stale-since', new Date(since).toISOString())
      response.setHeader('warning', '110 outrider "Response is Stale"')
    }
    if (known === tag) return void response.writeHead(304).end()
    const path = call.params['*']
    const value = path === undefined ? this.#content(call, view, part) : at(view.config, path)
    if (value === undefined) return answer(response, 404, { errorCode: 'ERR_CONFIG_KEY', message: `${service} has no ${path}` })
    answer(response, 200, value)
  }

  /** The view; undefined when the answer was that there is none. */
  #view({ response }: AgentCall, service: string): View | undefined {
    const [missing] = this.#hub.missing
    if (missing !== undefined) {
      response.setHeader('retry-after', '1')
      answer(response, 503, { errorCode: 'ERR_CONFIG_AWAY', message: `${missing}; nothing is known of it from before` })
      return undefined
    }
    const view = this.#hub.view(service)
    if (view.found) return view
    const services = this.#hub.services
    answer(response, 404, {
      errorCode: 'ERR_CONFIG_SERVICE',
      message: `no source says anything of ${service}; there is ${services.slice(0, 20).join(', ') || 'nothing'}`,
    })
    return undefined
  }

  #content({ query }: AgentCall, view: View, part: Part): unknown {
    if (part === 'config') return view.config
    const context = Object.fromEntries([...query].filter(([name]) => name !== 'wait' && name !== 'version'))
    return Object.fromEntries(evaluateAll(view.features, context).map((flag) => [flag.key, 'errorCode' in flag ? null : flag.value]))
  }

  async #stream(call: AgentCall, service: string, part: Part): Promise<void> {
    const { request, response } = call
    if (!this.#view(call, service)) return
    this.#enter()
    let last = request.headers['last-event-id']
    const tell = () => {
      const view = this.#hub.view(service)
      const version = (part === 'config' ? view.configTag : view.featuresTag).slice(1, -1)
      const stale = this.#hub.staleSince !== undefined
      const id = stale ? `${version}.stale` : version
      if (id === last) return
      last = id
      const data = JSON.stringify({ service, version, stale, [part]: this.#content(call, view, part) })
      response.write(`id: ${id}\nevent: ${part}\ndata: ${data}\n\n`)
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' })
    response.write(': \n\n')
    const beat = setInterval(() => response.write(': \n\n'), HEARTBEAT).unref()
    try {
      using _listening = this.#hub.listen(tell)
      tell()
      await aborted(call.signal)
    } finally {
      clearInterval(beat)
      this.#waiting--
      response.end()
    }
  }

  async #change(call: AgentCall, wait: number, changed: () => boolean): Promise<void> {
    if (changed()) return
    this.#enter()
    try {
      const stop = new AbortController()
      using _listening = this.#hub.listen(() => {
        if (changed()) stop.abort()
      })
      const late = setTimeout(() => stop.abort(), wait)
      await aborted(AbortSignal.any([call.signal, stop.signal]))
      clearTimeout(late)
    } finally {
      this.#waiting--
    }
  }

  #enter(): void {
    if (this.#waiting >= MOST_WAITING)
      throw new OutriderError({
        code: 'ERR_CONFIG_BUSY',
        http: 503,
        grpc: Code.ResourceExhausted,
        message: `${MOST_WAITING} calls wait for changes already`,
      })
    this.#waiting++
  }
}

/** Milliseconds of `?wait=30s` (or a number of seconds), or of `Prefer: wait=30`. */
function waitOf({ query, request }: AgentCall): number {
  const preferred = /\bwait=(\d+)/.exec(String(request.headers.prefer ?? ''))?.[1]
  const found = /^(\d{1,6})(ms|s|m)?$/.exec(query.get('wait') ?? preferred ?? '')
  if (!found) return 0
  return Math.min(LONGEST_WAIT, Number(found[1]) * ({ ms: 1, s: 1000, m: 60_000 }[found[2] ?? 's'] as number))
}

function quoted(version: string | null): string | undefined {
  return version === null ? undefined : `"${version.replaceAll('"', '')}"`
}

/** What stands at a path with slashes. */
function at(value: unknown, path: string): unknown {
  let found = value
  for (const name of path.split('/')) {
    if (!isTree(found) || !Object.hasOwn(found, name)) return undefined
    found = found[name]
  }
  return found
}
