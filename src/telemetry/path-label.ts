import { decodedPath } from './decoded-path.ts'

/** How a request's path becomes a label: `spec.metrics.http` of a Configuration. */
export interface PathLabelOptions {
  /** Paths as they are, shortened where they hold keys and ids; else empty unless a pattern matches. */
  increasedCardinality: boolean
  /** Go's ServeMux patterns, e.g. `/orders/{orderID}`, `/files/{path...}`, `/tree/`. */
  pathMatching: readonly string[]
}

const STATIC = new Set(['/dapr/config', '/dapr/metrics', '/dapr/subscribe', '/healthz'])
const MAX_CACHED = 1000

/** The label of a path as it came. What was asked last is remembered. */
export function pathLabels({ increasedCardinality, pathMatching }: PathLabelOptions): (path: string) => string {
  const patterns = compile(pathMatching)
  const cache = new Map<string, string>()
  const label = (path: string): string => {
    if (STATIC.has(path)) return path
    if (patterns.length > 0) {
      const matched = match(patterns, path)
      if (matched !== undefined) return matched
      const shorter = shortened(path)
      const again = shorter === path ? undefined : match(patterns, shorter)
      if (again !== undefined && again !== '/') return again
    }
    return increasedCardinality ? shortened(path) : ''
  }
  if (patterns.length === 0) {
    if (!increasedCardinality) return (path) => (STATIC.has(path) ? path : '')
    // Most calls end here, with a key that no other call has: nothing is remembered.
    return (path) => quick(path) ?? label(normal(decodedPath(path)))
  }
  return (raw) => {
    let found = cache.get(raw)
    if (found === undefined) {
      found = label(normal(decodedPath(raw)))
      if (cache.size >= MAX_CACHED) cache.clear()
      cache.set(raw, found)
    }
    return found
  }
}

/** The label of what needs no splitting, `/VERSION/state/STORE/…` above all; undefined: look closer. */
function quick(path: string): string | undefined {
  if (path.includes('%') || path.includes('//')) return undefined
  const second = path.indexOf('/', 1) + 1
  const end = path.indexOf('/', second)
  if (second === 0 || end < 0) return undefined
  if (path.startsWith('state/', second) || path.startsWith('secrets/', second)) {
    const third = path.indexOf('/', end + 1)
    return third < 0 ? path : path.slice(0, third)
  }
  return path.startsWith('actors/', second) || path.startsWith('workflows/', second) || path.startsWith('/actors/') ? undefined : path
}

/** A path without what varies from call to call: keys, actor ids, workflow instances. */
function shortened(path: string): string {
  const parts = path.slice(1).split('/')
  if (parts.length < 3) return path
  if (parts[0] === 'actors') {
    parts[2] = '{id}'
    return parts.join('/')
  }
  switch (parts[1]) {
    case 'state':
    case 'secrets':
      return `/${parts.slice(0, 3).join('/')}`
    case 'actors':
      if (parts.length < 5) return path
      parts[3] = '{id}'
      return `/${parts.slice(0, 5).join('/')}`
    case 'workflows':
      return workflowLabel(parts) ?? path
    default:
      return path
  }
}

function workflowLabel(parts: string[]): string | undefined {
  if (parts.length < 4) return undefined
  // …/workflows/COMPONENT/NAME/start names the workflow, everything else an instance.
  if (parts.length === 5 && parts[4]?.startsWith('start')) return `/${parts.slice(0, 4).join('/')}/start`
  parts[3] = '{instanceId}'
  if (parts.length >= 6 && parts[4] === 'raiseEvent' && parts[5] !== '') return `/${parts.slice(0, 5).join('/')}/{eventName}`
  return `/${parts.slice(0, 5).join('/')}`
}

interface Pattern {
  text: string
  segments: readonly string[]
  /** Ends in a slash or in `{rest...}`: takes everything below. */
  open: boolean
}

/** Every pattern also stands for the same path invoked through the sidecar. */
function compile(patterns: readonly string[]): Pattern[] {
  const all = new Set<string>()
  for (const raw of patterns) {
    const text = normal(raw)
    all.add(text)
    if (!text.startsWith('/v1.0/invoke/')) all.add(`/v1.0/invoke/{app_id}/method${text}`)
  }
  return [...all].map((text) => {
    const segments = text.slice(1).split('/')
    const last = segments.at(-1) as string
    const open = last === '' || /^\{.*\.\.\.\}$/.test(last)
    return { text, segments: open ? segments.slice(0, -1) : segments, open }
  })
}

/** The most specific pattern that takes the path: the one whose earliest differing segment is literal, then the longer one. */
function match(patterns: readonly Pattern[], path: string): string | undefined {
  const parts = path.slice(1).split('/')
  let best: Pattern | undefined
  for (const pattern of patterns) {
    const { segments, open } = pattern
    if (open ? parts.length <= segments.length : parts.length !== segments.length) continue
    if (!segments.every((segment, index) => segment === parts[index] || (isVariable(segment) && parts[index] !== ''))) continue
    if (!best || isMoreSpecific(pattern, best)) best = pattern
  }
  return best?.text
}

function isMoreSpecific(one: Pattern, other: Pattern): boolean {
  for (const [index, segment] of one.segments.entries()) {
    const against = other.segments[index]
    if (against === undefined) return true
    if (isVariable(segment) !== isVariable(against)) return !isVariable(segment)
  }
  return !one.open && other.open
}

const isVariable = (segment: string) => segment.startsWith('{')

function normal(path: string): string {
  const single = path.includes('//') ? path.replaceAll(/\/{2,}/g, '/') : path
  return single.startsWith('/') ? single : `/${single}`
}
