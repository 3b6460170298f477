import type { HttpFilter } from '../model/listener.ts'
import { type AccessTester, compileAccess } from './access.ts'
import { fieldOf } from './fields.ts'
import { compileHeader, type Matched } from './match.ts'
import { type CompiledCors, type CompiledFault, type CompiledFilters, type CompiledLimit, compileFault, compileLimit } from './routes.ts'

/** A listener's filter, ready. */
export type CompiledFilter =
  | { kind: 'fault'; policy: CompiledFault | undefined }
  | { kind: 'cors' }
  | { kind: 'access'; test: AccessTester | undefined }
  | { kind: 'rate-limit'; policy: CompiledLimit | undefined }
  | { kind: 'health'; test: readonly ((request: Matched) => boolean)[] }
  | { kind: 'buffer'; maxBytes: number }

export function compileFilter(filter: HttpFilter): CompiledFilter {
  switch (filter.kind) {
    case 'fault':
      return { kind: 'fault', policy: filter.policy && compileFault(filter.policy) }
    case 'access':
      return { kind: 'access', test: filter.policy && compileAccess(filter.policy) }
    case 'rate-limit':
      return { kind: 'rate-limit', policy: filter.policy && compileLimit(filter.policy) }
    case 'health':
      return { kind: 'health', test: filter.headers.map(compileHeader) }
    default:
      return filter
  }
}

/** What is in force: the route's where it says something, nothing where it says null. */
export function inForce<T>(own: T | null | undefined, general: T | undefined): T | undefined {
  return own === undefined ? general : (own ?? undefined)
}

export const NO_FILTERS: CompiledFilters = { cors: undefined, fault: undefined, rateLimit: undefined, access: undefined }

/** What CORS says to a request: headers of its reply, and whether it is a question that is answered here. */
export function corsOf(
  policy: CompiledCors,
  method: string,
  fields: readonly string[],
): { preflight: boolean; headers: string[] } | undefined {
  const origin = fieldOf(fields, 'origin')
  if (origin === undefined || !policy.test.some((test) => test(origin))) return undefined
  const headers = ['access-control-allow-origin', origin]
  if (policy.credentials) headers.push('access-control-allow-credentials', 'true')
  const preflight = method === 'OPTIONS' && fieldOf(fields, 'access-control-request-method') !== undefined
  const add = (name: string, value: string) => value !== '' && headers.push(name, value)
  if (preflight) {
    add('access-control-allow-methods', policy.methods)
    add('access-control-allow-headers', policy.headers)
    add('access-control-max-age', policy.maxAge)
  }
  add('access-control-expose-headers', policy.expose)
  return { preflight, headers }
}

/** How a request is disturbed on purpose, decided by chance. */
export function faultOf(policy: CompiledFault, request: Matched): { delay: number; abort: number } {
  if (!policy.test.every((test) => test(request))) return { delay: 0, abort: 0 }
  const hit = (percent: number) => Math.random() * 100 < percent
  const { delay, abort } = policy
  return { delay: delay && hit(delay.percent) ? delay.ms : 0, abort: abort && hit(abort.percent) ? abort.status : 0 }
}
