import type { IncomingHttpHeaders } from 'node:http'
import { BESIDE_CONNECTION, HOP_BY_HOP } from '../transport/hop-by-hop.ts'
import type { Invocation } from './invocation.ts'

/** What becomes of a header: the name it travels under, or undefined when it does not travel. */
type Fate = { readonly name: string; readonly kind: 'plain' | 'type' | 'length' | 'connection' } | undefined

const NEVER = new Set([
  ...BESIDE_CONNECTION,
  'host',
  'expect',
  'dapr-app-id',
  'dapr-api-token',
  'destination-app-id',
  'dapr-caller-app-id',
  'dapr-caller-namespace',
  'dapr-callee-app-id',
])
const HOP = new Set([...HOP_BY_HOP, 'content-length'])

/** Fates by the name as it came. Bounded: emptied when full, as clients choose these names. */
const fates = new Map<string, Fate>()

function fateOf(raw: string): Fate {
  const known = fates.get(raw)
  if (known !== undefined || fates.has(raw)) return known
  const lower = raw.toLowerCase()
  let fate: Fate
  if (NEVER.has(lower) || lower.endsWith('-bin') || lower.startsWith(':')) fate = undefined
  else if (lower === 'content-type') fate = { name: 'Content-Type', kind: 'type' }
  else if (lower === 'content-length') fate = { name: 'Content-Length', kind: 'length' }
  else if (lower === 'connection') fate = { name: 'Connection', kind: 'connection' }
  else if (lower === 'traceparent' || lower === 'tracestate' || lower === 'baggage') fate = { name: lower, kind: 'plain' }
  else if (lower.startsWith('grpc-')) fate = { name: `dapr-${lower}`, kind: 'plain' }
  else fate = { name: lower.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()), kind: 'plain' }
  if (fates.size >= 2000) fates.clear()
  fates.set(raw, fate)
  return fate
}

/** The headers of a request that travel on, names as Go spells them, with content type and length set apart. */
export function forwardableHeaders(rawHeaders: readonly string[]): Pick<Invocation, 'headers' | 'contentType' | 'length'> {
  const headers: string[] = []
  let contentType: string | undefined
  let length: number | undefined
  let nominated: Set<string> | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const fate = fateOf(rawHeaders[i] as string)
    if (!fate) continue
    const value = rawHeaders[i + 1] as string
    if (fate.kind === 'plain') headers.push(fate.name, value)
    else if (fate.kind === 'type') contentType = value
    else if (fate.kind === 'length') length = /^\d+$/.test(value) ? Number(value) : undefined
    else if (value !== 'keep-alive' && value !== 'close')
      nominated = new Set([
        ...(nominated ?? []),
        ...value
          .toLowerCase()
          .split(',')
          .map((token) => token.trim()),
      ])
  }
  if (!nominated) return { headers, contentType, length }
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2)
    if (!nominated.has((headers[i] as string).toLowerCase())) kept.push(headers[i] as string, headers[i + 1] as string)
  return { headers: kept, contentType, length }
}

/** An app's response headers as they travel back: without hop-by-hop names and those that Connection names. */
export function responseHeaders(headers: IncomingHttpHeaders, keepLength: boolean): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {}
  const connection = headers.connection
  const nominated =
    connection === undefined || connection === 'keep-alive' || connection === 'close'
      ? undefined
      : connection
          .toLowerCase()
          .split(',')
          .map((token) => token.trim())
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined || nominated?.includes(name)) continue
    if (HOP.has(name) && !(keepLength && name === 'content-length')) continue
    kept[name] = value
  }
  return kept
}

/** The value of a header in a flat list, whatever its case. */
export function headerOf(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2)
    if ((headers[i] as string).length === name.length && (headers[i] as string).toLowerCase() === name) return headers[i + 1]
  return undefined
}

/**
 * Bytes of an invocation's body as its metadata tell them. A `content-length` that a gRPC client sent with its call, and daprd
 * passes on, counts gRPC's frames; beside it only a sidecar's own `Content-Length` is of the body.
 */
export function bodyLength(metadata: readonly string[]): number | undefined {
  let length = headerOf(metadata, 'content-length')
  if (length !== undefined && headerOf(metadata, 'content-type')?.startsWith('application/grpc')) {
    length = undefined
    for (let i = 0; i < metadata.length; i += 2) if (metadata[i] === 'Content-Length') length = metadata[i + 1]
  }
  return length !== undefined && /^\d+$/.test(length) ? Number(length) : undefined
}

/** Names in lower case, by the name as it came. Bounded: emptied when full. */
const lowered = new Map<string, string>()

/** `name.toLowerCase()`, remembered: the same few names come with every call. */
export function lowerCase(name: string): string {
  let lower = lowered.get(name)
  if (lower === undefined) {
    lower = name.toLowerCase()
    if (lowered.size >= 2000) lowered.clear()
    lowered.set(name, lower)
  }
  return lower
}
