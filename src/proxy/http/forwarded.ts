import { randomUUID } from 'node:crypto'
import type { HttpHandling } from '../model/listener.ts'
import type { ConnectionInfo } from './downstream.ts'
import { fieldOf, joined, put, without } from './fields.ts'

/**
 * Writes what the upstream should know of the client, and gives the address that counts as the client's: of the connection where it
 * is trusted itself, else what proxies before this one say in x-forwarded-for.
 */
export function forwarded(fields: string[], settings: HttpHandling, connection: ConnectionInfo): string {
  const { useRemoteAddress, trustedHops, requestId, via } = settings
  const { remoteAddress, secure } = connection
  const before = joined(fields, 'x-forwarded-for')
  let client = remoteAddress
  if (useRemoteAddress) {
    if (trustedHops > 0) client = hop(before, trustedHops) ?? remoteAddress
    if (remoteAddress !== '') put(fields, 'x-forwarded-for', before === undefined ? remoteAddress : `${before},${remoteAddress}`)
    // What only proxies say to each other is not believed of a client.
    without(fields, 'x-envoy-internal')
    if (settings.envoyHeaders && client !== '') put(fields, 'x-envoy-external-address', client)
    // Whoever is not trusted does not say how the request came.
    if (trustedHops === 0) put(fields, 'x-forwarded-proto', secure ? 'https' : 'http')
    else if (fieldOf(fields, 'x-forwarded-proto') === undefined) fields.push('x-forwarded-proto', secure ? 'https' : 'http')
  } else {
    client = hop(before, trustedHops + 1) ?? remoteAddress
    if (fieldOf(fields, 'x-forwarded-proto') === undefined) fields.push('x-forwarded-proto', secure ? 'https' : 'http')
  }
  if (requestId && fieldOf(fields, 'x-request-id') === undefined) fields.push('x-request-id', randomUUID())
  if (via !== '') {
    const known = joined(fields, 'via')
    without(fields, 'via')
    fields.push('via', known === undefined ? via : `${known}, ${via}`)
  }
  return client
}

/** The address that stands so many places from the end. */
function hop(list: string | undefined, place: number): string | undefined {
  return list?.split(',').at(-place)?.trim() || undefined
}
