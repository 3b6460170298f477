import type { AppChannel } from '../../app/channel.ts'
import { HOP_BY_HOP } from '../../transport/hop-by-hop.ts'
import type { BindingEvent } from './driver.ts'

/** What the app answered to an event. HTTP apps only give data; gRPC apps may also name output bindings to pass it on to. */
export interface EventAnswer {
  data: Buffer
  /** Output bindings that get `data` with operation `create`. */
  to?: readonly string[] | undefined
  parallel?: boolean | undefined
}

/** The app's answer was a success other than 200: a retry policy counts it as failed, the last attempt accepts it. */
export class SoftFailure extends Error {
  override readonly name = 'SoftFailure'
  readonly status: number
  readonly answer: EventAnswer
  constructor(status: number, answer: EventAnswer) {
    super(`the app answered ${status} where 200 is expected`)
    this.status = status
    this.answer = answer
  }
}

/** The app did not take an event; `status` lets retry policies match on it. */
export class EventRefused extends Error {
  override readonly name = 'EventRefused'
  readonly status: number
  constructor(path: string, status: number) {
    super(`fails to send binding event to http app channel, status code: ${status} (POST ${path})`)
    this.status = status
  }
}

/** The app's side of input bindings, over one of the two wires. */
export interface BindingsApp {
  /** Intake starts anew: what the app answered before no longer counts. */
  begin?(): void
  /** Whether the app wants this binding; rejects when the app cannot be asked. */
  wants(name: string, route: string, signal: AbortSignal): Promise<boolean>
  deliver(name: string, route: string, event: BindingEvent, signal: AbortSignal | undefined): Promise<EventAnswer>
}

/** Input bindings of an HTTP app: OPTIONS asks, POST delivers. */
export function httpBindingsApp(channel: AppChannel): BindingsApp {
  return {
    async wants(_name, route, signal) {
      const reply = await channel.call({ method: 'OPTIONS', path: pathOf(route), headers: { 'content-type': 'application/json' }, signal })
      return (reply.status >= 200 && reply.status < 300) || reply.status === 405
    },
    async deliver(_name, route, event, signal) {
      const path = pathOf(route)
      const reply = await channel.call({
        method: 'POST',
        path,
        headers: { ...headersOf(event.metadata), 'content-type': 'application/json' },
        body: event.data,
        signal,
      })
      const answer = { data: reply.body }
      if (reply.status === 200) return answer
      if (reply.status > 200 && reply.status < 300) throw new SoftFailure(reply.status, answer)
      throw new EventRefused(path, reply.status)
    },
  }
}

function pathOf(route: string): string {
  return route.startsWith('/') ? route : `/${route}`
}

/** Headers that belong to one connection or one body, never to an event. */
const OWN = new Set([...HOP_BY_HOP, 'content-length', 'content-type', 'host', 'expect'])

/** Event metadata as headers, without what would break the request. */
function headersOf(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(metadata)) {
    const lower = name.toLowerCase()
    if (OWN.has(lower) || lower.endsWith('-bin') || !/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(lower)) continue
    headers[lower] = value.replace(/[^\t\x20-\x7e\x80-\xff]/g, ' ')
  }
  return headers
}
