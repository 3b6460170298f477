import type { PubSub } from './driver.ts'

export interface Rule {
  /** CEL over `event`; empty matches always. */
  match: string
  path: string
}

export interface BulkSubscribe {
  maxMessagesCount: number
  maxAwaitDurationMs: number
}

/** One wish to get the events of a topic, wherever it was written. */
export interface Subscription {
  pubsubName: string
  topic: string
  metadata: Readonly<Record<string, string>>
  rules: readonly Rule[]
  deadLetterTopic: string
  bulk?: BulkSubscribe | undefined
  type: 'PROGRAMMATIC' | 'DECLARATIVE' | 'STREAMING'
}

/** A Subscription resource as YAML gives it. */
export interface SubscriptionResource {
  kind: string
  apiVersion: string
  metadata: { name: string }
  spec: unknown
  scopes?: readonly string[] | undefined
}

/** As `GET /v1.0/metadata` shows it. */
export interface SubscriptionInfo {
  pubsubname: string
  topic: string
  metadata?: Record<string, string>
  rules?: { match?: string; path?: string }[]
  deadLetterTopic: string
  type: Subscription['type']
}

/** What the app answered to `GET /dapr/subscribe`; entries without any route are reported to `warn` and left out. Throws on a wrong shape. */
export function programmatic(answer: unknown, warn: (message: string) => void): Subscription[] {
  if (answer === null || answer === undefined) return []
  if (!Array.isArray(answer)) throw new Error('expected a JSON array of subscriptions')
  const found: Subscription[] = []
  for (const [index, entry] of answer.entries()) {
    const spec = object(entry, `subscription ${index + 1}`)
    const subscription = build(spec, rulesOf(spec.routes, text(spec.route)), 'PROGRAMMATIC')
    if (subscription.rules.length > 0) found.push(subscription)
    else
      warn(
        `subscription ${index + 1} (topic ${subscription.topic} of pubsub ${subscription.pubsubName}) has no route and is left out: give it a route or routes`,
      )
  }
  return found
}

/** A resource as a subscription; undefined when its scopes leave this app out. Throws naming what is missing. */
export function declarative(resource: SubscriptionResource, appId: string): Subscription | undefined {
  if (resource.scopes && resource.scopes.length > 0 && !resource.scopes.includes(appId)) return undefined
  const spec = object(resource.spec, `subscription ${resource.metadata.name}: spec`)
  // v1alpha1 has one route for all events, v2alpha1 rules with a default; a mixed one is read as it is meant.
  const rules = rulesOf(
    resource.apiVersion.endsWith('/v1alpha1')
      ? { default: spec.route, ...(spec.routes ? object(spec.routes, 'routes') : {}) }
      : spec.routes,
    '',
  )
  const subscription = build(spec, rules.length > 0 ? rules : [{ match: '', path: '' }], 'DECLARATIVE')
  if (!subscription.pubsubName || !subscription.topic)
    throw new Error(`subscription ${resource.metadata.name}: spec.${subscription.pubsubName ? 'topic' : 'pubsubname'} is missing`)
  return subscription
}

/** One subscription for each topic of a component: an earlier list wins over a later one; of an app's own list the last one wins, of resources the first, as in daprd. */
export function merge(lists: readonly (readonly Subscription[])[], warn: (message: string) => void): Subscription[] {
  const byTopic = new Map<string, Subscription>()
  for (const list of lists) {
    const own = new Map<string, Subscription>()
    for (const subscription of list) {
      const key = `${subscription.pubsubName}||${subscription.topic}`
      const other = byTopic.get(key) ?? own.get(key)
      if (other) {
        const sources = `${other.type.toLowerCase()}, ${subscription.type.toLowerCase()}`
        warn(
          `two identical subscriptions found (sources: ${sources}). pubsubname: ${subscription.pubsubName}, topic: ${subscription.topic}; the ${byTopic.has(key) || subscription.type !== 'PROGRAMMATIC' ? 'first' : 'last'} one is used`,
        )
      }
      if (subscription.type === 'PROGRAMMATIC' || !own.has(key)) own.set(key, subscription)
    }
    for (const [key, subscription] of own) if (!byTopic.has(key)) byTopic.set(key, subscription)
  }
  return [...byTopic.values()]
}

export function info(subscription: Subscription): SubscriptionInfo {
  const shown: SubscriptionInfo = {
    pubsubname: subscription.pubsubName,
    topic: subscription.topic,
    deadLetterTopic: subscription.deadLetterTopic,
    type: subscription.type,
  }
  if (Object.keys(subscription.metadata).length > 0) shown.metadata = { ...subscription.metadata }
  if (subscription.rules.length > 0)
    shown.rules = subscription.rules.map(({ match, path }) => ({ ...(match && { match }), ...(path && { path }) }))
  return shown
}

/** Whether a broker hands over batches itself, so that waiting for more is in vain. */
export function flushesAtOnce(component: PubSub): boolean {
  return component.givesBatches === true || component.features.includes('BULK_SUBSCRIBE_IMMEDIATE')
}

function build(spec: Record<string, unknown>, rules: Rule[], type: Subscription['type']): Subscription {
  const metadata: Record<string, string> = {}
  if (spec.metadata) for (const [name, value] of Object.entries(object(spec.metadata, 'metadata'))) metadata[name] = text(value)
  return {
    pubsubName: text(spec.pubsubname ?? spec.pubsubName),
    topic: text(spec.topic),
    metadata,
    rules,
    deadLetterTopic: text(spec.deadLetterTopic),
    bulk: bulkOf(spec.bulkSubscribe),
    type,
  }
}

function rulesOf(given: unknown, route: string): Rule[] {
  const routes = given ? object(given, 'routes') : {}
  if (routes.rules && !Array.isArray(routes.rules)) throw new Error('routes.rules is not a list')
  const rules = ((routes.rules ?? []) as unknown[]).map((rule) => {
    const { match, path } = object(rule, 'routes.rules')
    return { match: text(match).trim(), path: text(path) }
  })
  const fallback = text(routes.default) || route
  if (fallback) rules.push({ match: '', path: fallback })
  return rules
}

function bulkOf(given: unknown): BulkSubscribe | undefined {
  if (!given) return undefined
  const { enabled, maxMessagesCount, maxAwaitDurationMs } = object(given, 'bulkSubscribe')
  if (enabled !== true && enabled !== 'true') return undefined
  return { maxMessagesCount: positive(maxMessagesCount) ?? 100, maxAwaitDurationMs: positive(maxAwaitDurationMs) ?? 1000 }
}

function positive(value: unknown): number | undefined {
  const number = Number(value ?? 0)
  return number > 0 ? Math.min(Math.ceil(number), 2 ** 31 - 1) : undefined
}

function text(value: unknown): string {
  if (value === undefined || value === null) return ''
  if (typeof value === 'object') throw new Error(`expected text, found ${JSON.stringify(value)}`)
  return String(value)
}

function object(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} is not an object`)
  return value as Record<string, unknown>
}
