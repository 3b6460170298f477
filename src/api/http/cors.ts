import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Reply } from './route.ts'

const METHODS = 'HEAD, GET, POST, PUT, PATCH, DELETE'

/** Adds CORS headers for a configured list of origins (`*` or CSV); gives the reply when the request is a preflight. */
export function corsHeaders(allowed: string, request: IncomingMessage, response: ServerResponse): Reply | undefined {
  const origin = request.headers.origin
  if (origin === undefined) return undefined
  response.setHeader('vary', 'Origin')
  const wanted = request.headers['access-control-request-method']
  const preflight = request.method === 'OPTIONS' && wanted !== undefined
  const any = allowed.split(',').some((entry) => entry.trim() === '*')
  if (any || allowed.split(',').some((entry) => entry.trim() === origin)) {
    response.setHeader('access-control-allow-origin', any ? '*' : origin)
    if (preflight) {
      response.setHeader('access-control-allow-methods', METHODS)
      const headers = request.headers['access-control-request-headers']
      if (headers !== undefined) response.setHeader('access-control-allow-headers', headers)
    }
  }
  // A preflight carries no token, so it ends here for every origin; without the headers above the browser refuses.
  return preflight ? { status: 200 } : undefined
}
