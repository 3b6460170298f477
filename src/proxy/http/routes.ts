import type { AccessPolicy, CorsPolicy, FaultPolicy, ForwardAction, RateLimit, Route, RouteTable, VirtualHost } from '../model/route.ts'
import { type AccessTester, compileAccess } from './access.ts'
import { type CompiledChanges, compileChanges } from './fields.ts'
import { compileValue, type Told } from './format.ts'
import { compileHeader, compileRequest, compileText, type Matched, type TextTest, wholeRegex } from './match.ts'
import { TokenBucket } from './token-bucket.ts'

type Changes = CompiledChanges<Told> | undefined

/** Header changes of one direction, the most particular first. */
export type ChangeList = readonly CompiledChanges<Told>[]

export interface CompiledCors extends CorsPolicy {
  test: readonly TextTest[]
}

export interface CompiledFault extends FaultPolicy {
  test: readonly ((request: Matched) => boolean)[]
}

export interface CompiledLimit extends RateLimit {
  bucket: TokenBucket
  changes: Changes
}

/** What a route has of its own where a listener has a filter: null switches it off. */
export interface CompiledFilters {
  cors: CompiledCors | null | undefined
  fault: CompiledFault | null | undefined
  rateLimit: CompiledLimit | null | undefined
  access: AccessTester | null | undefined
}

export interface CompiledTarget {
  service: string
  /** Up to which share of all weights it reaches. */
  until: number
  requestHeaders: Changes
  responseHeaders: Changes
}

export interface CompiledRoute {
  readonly model: Route
  readonly host: VirtualHost
  readonly filters: CompiledFilters
  readonly requestChanges: ChangeList
  readonly responseChanges: ChangeList
  readonly targets: readonly CompiledTarget[]
  readonly weights: number
  rewrite(path: string, pathEnd: number): string
  /** The authority after a rewrite by pattern of the path. */
  readonly hostPattern: RegExp | undefined
}

interface CompiledHost {
  readonly model: VirtualHost
  readonly routes: readonly { test: (request: Matched) => boolean; route: CompiledRoute }[]
}

export function compileCors(policy: CorsPolicy): CompiledCors {
  return { ...policy, test: policy.origins.map(compileText) }
}

export function compileFault(policy: FaultPolicy): CompiledFault {
  return { ...policy, test: policy.headers.map(compileHeader) }
}

export function compileLimit(policy: RateLimit): CompiledLimit {
  const { burst, tokens, interval } = policy
  return { ...policy, bucket: new TokenBucket(burst, tokens, interval), changes: compileChanges(policy.responseHeaders, compileValue) }
}

/** The routes of one listener, ready to be asked. Throws for a regular expression or a format that is none. */
export class Router {
  readonly #exact = new Map<string, CompiledHost>()
  /** `*.suffix` and `prefix.*`, the longest first. */
  readonly #suffixes: { text: string; host: CompiledHost }[] = []
  readonly #prefixes: { text: string; host: CompiledHost }[] = []
  #any: CompiledHost | undefined

  constructor(table: RouteTable) {
    for (const host of table.hosts) {
      const compiled = compileHost(host, table)
      for (const domain of host.domains) {
        const name = domain.toLowerCase()
        if (name === '*') this.#any ??= compiled
        else if (name.startsWith('*')) this.#suffixes.push({ text: name.slice(1), host: compiled })
        else if (name.endsWith('*')) this.#prefixes.push({ text: name.slice(0, -1), host: compiled })
        else if (!this.#exact.has(name)) this.#exact.set(name, compiled)
      }
    }
    const longest = (a: { text: string }, b: { text: string }) => b.text.length - a.text.length
    this.#suffixes.sort(longest)
    this.#prefixes.sort(longest)
  }

  /** `authority` as routes see it; undefined: nothing fits. */
  find(request: Matched, authority: string): CompiledRoute | undefined {
    const host = this.#host(authority)
    if (!host) return undefined
    for (const { test, route } of host.routes) if (test(request)) return route
    return undefined
  }

  #host(authority: string): CompiledHost | undefined {
    if (this.#exact.size === 0 && this.#suffixes.length === 0 && this.#prefixes.length === 0) return this.#any
    const name = authority.toLowerCase()
    const exact = this.#exact.get(name)
    if (exact) return exact
    for (const { text, host } of this.#suffixes) if (name.length > text.length && name.endsWith(text)) return host
    for (const { text, host } of this.#prefixes) if (name.length > text.length && name.startsWith(text)) return host
    return this.#any
  }
}

function compileHost(host: VirtualHost, table: RouteTable): CompiledHost {
  return {
    model: host,
    routes: host.routes.map((route) => ({ test: compileRequest(route.match), route: compileRoute(route, host, table) })),
  }
}

function compileRoute(route: Route, host: VirtualHost, table: RouteTable): CompiledRoute {
  const list = (...changes: Changes[]) => changes.filter((one) => one !== undefined)
  const of = (one: { requestHeaders: Route['requestHeaders']; responseHeaders: Route['responseHeaders'] }) =>
    [compileChanges(one.requestHeaders, compileValue), compileChanges(one.responseHeaders, compileValue)] as const
  const [routeRequest, routeReply] = of(route)
  const [hostRequest, hostReply] = of(host)
  const [tableRequest, tableReply] = of(table)
  const targets = targetsOf(route)
  const rewrite = route.action.kind === 'answer' ? undefined : route.action.rewrite
  const hostRewrite = route.action.kind === 'forward' ? route.action.host : undefined
  return {
    model: route,
    host,
    filters: {
      cors: chosen(route.filters.cors, host.filters.cors, compileCors),
      fault: chosen(route.filters.fault, host.filters.fault, compileFault),
      rateLimit: chosen(route.filters.rateLimit, host.filters.rateLimit, compileLimit),
      access: chosen<AccessPolicy, AccessTester>(route.filters.access, host.filters.access, compileAccess),
    },
    requestChanges: list(routeRequest, hostRequest, tableRequest),
    responseChanges: list(routeReply, hostReply, tableReply),
    targets,
    weights: targets.at(-1)?.until ?? 0,
    rewrite: rewriter(route, rewrite),
    hostPattern: hostRewrite && 'pathRegex' in hostRewrite ? new RegExp(hostRewrite.pathRegex) : undefined,
  }
}

/** The route's, or else the virtual host's. */
function chosen<P, T>(own: P | null | undefined, host: P | null | undefined, compile: (policy: P) => T): T | null | undefined {
  const policy = own === undefined ? host : own
  return policy === null || policy === undefined ? (policy as null | undefined) : compile(policy)
}

function targetsOf({ action }: Route): CompiledTarget[] {
  if (action.kind !== 'forward' || 'header' in action.to) return []
  let until = 0
  return action.to.map(({ service, weight, requestHeaders, responseHeaders }) => {
    until += weight
    return {
      service,
      until,
      requestHeaders: compileChanges(requestHeaders, compileValue),
      responseHeaders: compileChanges(responseHeaders, compileValue),
    }
  })
}

function rewriter({ match }: Route, rewrite: ForwardAction['rewrite']): CompiledRoute['rewrite'] {
  if (!rewrite) return (path) => path
  if ('regex' in rewrite) {
    const pattern = new RegExp(rewrite.regex.replace(/\(\?P</g, '(?<'), 'g')
    // \1 of RE2 is $1 here.
    const by = rewrite.by.replace(/\$/g, '$$$$').replace(/\\(\d)/g, (_, digit: string) => (digit === '0' ? '$$&' : `$${digit}`))
    return (path, pathEnd) => path.slice(0, pathEnd).replace(pattern, by) + path.slice(pathEnd)
  }
  const { path } = match
  if ('regex' in path) {
    const pattern = wholeRegex(path.regex)
    return (text, pathEnd) => (pattern.test(text.slice(0, pathEnd)) ? rewrite.prefix + text.slice(pathEnd) : text)
  }
  const from = 'prefix' in path ? path.prefix : 'exact' in path ? path.exact : path.pathPrefix
  return (text) => rewrite.prefix + text.slice(from.length)
}
