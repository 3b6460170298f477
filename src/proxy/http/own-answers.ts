import type { AnswerAction, RedirectAction } from '../model/route.ts'
import type { ProxyExchange } from './exchange.ts'
import { withoutPort } from './path.ts'
import type { CompiledRoute } from './routes.ts'

/** Gives the answer that the route itself has. */
export function answerDirectly(exchange: ProxyExchange, { status, body }: AnswerAction): void {
  ;(exchange.handler.figures.rq_direct_response as number)++
  const bytes = Buffer.from(body)
  const fields = ['content-length', String(bytes.length), ...(bytes.length > 0 ? ['content-type', 'text/plain'] : [])]
  exchange.answer(status, fields, exchange.method === 'HEAD' ? undefined : bytes, 'direct_response')
}

/** Sends the client to where the route says. */
export function redirect(exchange: ProxyExchange, action: RedirectAction, route: CompiledRoute): void {
  ;(exchange.handler.figures.rq_redirect as number)++
  const scheme = action.scheme ?? exchange.scheme
  let authority = action.host ?? exchange.authority
  if (action.port !== undefined) authority = `${withoutPort(authority)}:${action.port}`
  else if (action.scheme !== undefined && action.host === undefined) {
    // A port that the old scheme implies says nothing under the new one.
    authority = withoutPort(authority, action.scheme === 'https' ? 80 : 443)
  }
  let { path } = exchange
  if (action.path !== undefined) path = action.path.includes('?') ? action.path : action.path + path.slice(exchange.pathEnd)
  else path = route.rewrite(path, exchange.pathEnd)
  if (action.stripQuery) path = path.split('?')[0] as string
  exchange.answer(action.status, ['location', `${scheme}://${authority}${path}`, 'content-length', '0'], undefined, 'redirect')
}
