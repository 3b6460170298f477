import type { WholeReply, WholeRequest } from './client.ts'

/** Fields that another server must not see. */
const SECRET = new Set(['authorization', 'cookie', 'proxy-authorization'])

/** The request that a redirection asks for, as browsers and curl read it; undefined when the reply is no redirection. */
export function nextRequest(request: WholeRequest, { status, headers }: Pick<WholeReply, 'status' | 'headers'>): WholeRequest | undefined {
  const { location } = headers
  if (status < 301 || status > 308 || (status > 303 && status < 307)) return undefined
  if (typeof location !== 'string' || !URL.canParse(location, request.url)) return undefined
  const url = new URL(location, request.url)
  const sameServer = url.origin === request.url.origin
  const bare = status === 303 ? request.method !== 'HEAD' : status < 303 && request.method === 'POST'
  const kept = Object.entries(request.headers ?? {}).filter(([given]) => {
    const name = given.toLowerCase()
    return name !== 'host' && (sameServer || !SECRET.has(name)) && !(bare && name.startsWith('content-'))
  })
  return {
    ...request,
    url,
    path: url.pathname + url.search,
    method: bare ? 'GET' : request.method,
    body: bare ? undefined : request.body,
    headers: Object.fromEntries(kept),
  }
}
