import type { Route } from './route.ts'

/** One row of `spec.api.allowed` or `denied`. */
export interface ApiRule {
  name: string
  /** Absent: all. */
  version?: string | undefined
  /** `http` or `grpc`; absent: both. */
  protocol?: string | undefined
}

/**
 * The routes that a Configuration leaves open: denied ones go, and with an allow list only listed ones stay.
 * Health always stays. Versions may also be written as in the path (`v1.0`, name a route prefix).
 */
export function allowedRoutes(routes: readonly Route[], allowed: readonly ApiRule[], denied: readonly ApiRule[]): Route[] {
  const http = (rules: readonly ApiRule[]) => rules.filter((rule) => (rule.protocol ?? 'http').toLowerCase() === 'http')
  const matches = (rule: ApiRule, route: Route) =>
    (rule.name === route.group && (rule.version === undefined || rule.version === route.version)) ||
    `${route.path.slice(1)}/`.startsWith(`${rule.version}/${rule.name}/`)
  const allow = http(allowed)
  const deny = http(denied)
  return routes.filter(
    (route) =>
      route.group === 'healthz' ||
      (!deny.some((rule) => matches(rule, route)) && (allow.length === 0 || allow.some((rule) => matches(rule, route)))),
  )
}
