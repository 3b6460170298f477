import { createHttpChannel, type HttpChannel } from '../../app/http-channel.ts'
import type { Pipeline } from '../../app/middleware/pipeline.ts'
import type { ResponseSink } from '../../app/response-sink.ts'
import { callHttpApp } from '../../peers/app-call.ts'
import { escapePath, type Invocation } from '../../peers/invocation.ts'
import { callRedirected } from './redirected.ts'

/** An HTTPEndpoint resource, its secrets read. */
export interface HttpEndpoint {
  name: string
  baseUrl: string
  /** Put into every request, in place of the caller's. */
  headers: Readonly<Record<string, string>>
  tls?: { ca?: string | undefined; cert?: string | undefined; key?: string | undefined } | undefined
}

export interface ExternalService {
  /** Of an HTTPEndpoint; absent for a URL. */
  readonly baseUrl?: string
  /** Sends the invocation to the service and its reply to the sink. Returns what gives the call up. */
  call(invocation: Invocation, sink: ResponseSink): (reason?: Error) => void
}

/** Services that are no apps with sidecars: HTTPEndpoint resources by name, and any URL. */
export interface ExternalServices extends AsyncDisposable {
  /** Takes an endpoint in, in place of one with its name. Throws when its URL is none. */
  add(endpoint: HttpEndpoint): void
  /** Forgets an endpoint; calls under way finish. */
  remove(name: string): void
  find(target: string): ExternalService | undefined
}

/** Origins called by URL whose connections are kept. The one called longest ago goes first. */
const KEPT = 64
const URL_TARGET = /^https?:\/\//

export function createExternalServices(options: { pipeline?: Pipeline | undefined } = {}): ExternalServices {
  const { pipeline } = options
  const endpoints = new Map<string, { service: ExternalService; channel: HttpChannel }>()
  const origins = new Map<string, HttpChannel>()
  const channelByUrl = (target: string): { channel: HttpChannel; prefix: string } => {
    const { origin, prefix } = parse(target)
    const channel = origins.get(origin) ?? channelOf(target, {}, pipeline)
    origins.delete(origin)
    origins.set(origin, channel)
    if (origins.size > KEPT) {
      for (const [oldest, gone] of origins) {
        origins.delete(oldest)
        void gone.close()
        break
      }
    }
    return { channel, prefix }
  }
  const byUrl = (target: string): ExternalService => {
    const { channel, prefix } = channelByUrl(target)
    return { call: (invocation, sink) => callHttpApp(channel, invocation, sink, prefix) }
  }
  return {
    add(endpoint) {
      const { origin, prefix } = parse(endpoint.baseUrl)
      const channel = channelOf(endpoint.baseUrl, endpoint.tls ?? {}, pipeline)
      const own = Object.entries(endpoint.headers)
      const replaced = new Set(own.map(([name]) => name.toLowerCase()))
      const before = endpoints.get(endpoint.name)
      if (before) void before.channel.close()
      endpoints.set(endpoint.name, {
        channel,
        service: {
          baseUrl: endpoint.baseUrl,
          call(invocation, sink) {
            const kept = invocation.headers.filter((_, i, all) => !replaced.has((all[i - (i % 2)] as string).toLowerCase()))
            const headers = [...kept, ...own.flat()]
            return callRedirected(
              {
                verb: invocation.verb,
                url: () => new URL(`${origin}${prefix}${escapePath(invocation.method)}${invocation.query ? `?${invocation.query}` : ''}`),
                headers,
                secret: replaced,
                start: (first) => callHttpApp(channel, { ...invocation, headers: [...headers] }, first, prefix),
                // The certificate of ours is for the endpoint's own server.
                go: (url, request, next) => (url.origin === origin ? channel : channelByUrl(url.href).channel).dispatch(request, next),
              },
              sink,
            )
          },
        },
      })
    },
    remove(name) {
      const gone = endpoints.get(name)
      endpoints.delete(name)
      if (gone) void gone.channel.close()
    },
    find(target) {
      const named = endpoints.get(target)
      if (named) return named.service
      if (!URL_TARGET.test(target)) return undefined
      try {
        return byUrl(target)
      } catch (error) {
        return {
          call() {
            throw error
          },
        }
      }
    },
    async [Symbol.asyncDispose]() {
      const all = [...endpoints.values()].map(({ channel }) => channel).concat([...origins.values()])
      endpoints.clear()
      origins.clear()
      await Promise.all(all.map((channel) => channel[Symbol.asyncDispose]()))
    },
  }
}

function parse(text: string): { origin: string; prefix: string } {
  const url = new URL(text)
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new Error(`${url.protocol} is no protocol for ${url.host}: use http or https`)
  return { origin: url.origin, prefix: url.pathname.replace(/\/+$/, '') }
}

function channelOf(text: string, tls: NonNullable<HttpEndpoint['tls']>, pipeline: Pipeline | undefined): HttpChannel {
  const url = new URL(text)
  const secure = url.protocol === 'https:'
  return createHttpChannel({
    host: url.hostname,
    port: Number(url.port || (secure ? 443 : 80)),
    protocol: secure ? 'https' : 'http',
    connectTimeout: 15_000,
    pipeline,
    ...(secure ? { tls } : {}),
  })
}
