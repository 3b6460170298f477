import { count, duration, list, map, object, prefixOfRoutes, text, wrongPrefix } from './agent-schema.ts'
import type { RoleKind } from './role-kinds.ts'

const ADDRESS = '^(\\[[0-9a-fA-F:.]+\\]|[^:\\s]*):\\d{1,5}$'
const address = (description: string) => text(`${description} As host:port; without a host: 127.0.0.1.`, { pattern: ADDRESS })

/** spec of a MetricsAdapter. */
export const metricsAdapterSpec = object({
  statsd: object(
    {
      udp: address('UDP, as StatsD and Datadog clients send by default.'),
      tcp: address('TCP, one metric a line.'),
      unix: text('Path of a unix datagram socket (Datadog: unix:// or unixgram://). Linux, with a Node that has node:ffi (26).'),
      unixStream: text('Path of a unix stream socket: lines, or frames with their length before them (Datadog: unixstream://).'),
    },
    [],
    'Where StatsD and DogStatsD are taken.',
  ),
  mappings: list(
    object(
      {
        match: text('Name as StatsD has it, dots between its parts; `*` takes one part.'),
        name: text('Name of the metric; $1 is what the first * took.'),
        labels: map(text('Value; $1 is what the first * took.'), 'Labels besides those of the tags.'),
        drop: { type: 'boolean', description: 'Leave these metrics out; they are counted as dropped.' },
        buckets: list({ type: 'number' }, 'Upper bounds for these timers and histograms.', { minItems: 1, maxItems: 50 }),
      },
      ['match'],
    ),
    'What metrics become; the first that matches counts. Without one the name keeps its letters and digits, the rest becomes _.',
    { maxItems: 1000 },
  ),
  buckets: list({ type: 'number' }, 'Upper bounds of timers (in seconds) and histograms. Default .005 to 10.', {
    minItems: 1,
    maxItems: 50,
  }),
  prefix: prefixOfRoutes(' The page /PREFIX/metrics then has this adapter’s metrics alone, and :9001/metrics is without them.'),
  maxSeries: count('Series at most; what would begin another one is counted as dropped. Default 10000.', 1, 1_000_000),
  expireAfter: duration('Series that nothing was added to for so long go. Default: never.'),
  scrape: object(
    {
      url: text('Page of metrics of the app, in the Prometheus text format.', { pattern: '^https?://[^/]' }),
      interval: duration('Default 15s.'),
      timeout: duration('For one answer; default 5s.'),
      headers: map(text('Value.'), 'Sent along.'),
    },
    ['url'],
    'The app is asked for its metrics, which go to the outputs.',
  ),
  outputs: object(
    {
      statsd: object(
        {
          address: address('A StatsD server, by UDP.'),
          prefix: text('Before each name, as it is: `shop.`'),
          tags: {
            type: 'string',
            enum: ['datadog', 'none'],
            description: 'How labels go; none: as further parts of the name. Default datadog.',
          },
        },
        ['address'],
        'What the app was scraped for: counters as what they grew by, gauges as they are.',
      ),
      otlp: object(
        {
          endpoint: text('URL of an OTLP receiver over HTTP; without a path /v1/metrics is added.', { pattern: '^https?://[^/]' }),
          interval: duration('Default 15s.'),
          timeout: duration('For one request; default 10s.'),
          headers: map(text('Value.'), 'Sent along.'),
        },
        ['endpoint'],
        'Everything: what came by StatsD, and what the app was scraped for.',
      ),
    },
    [],
    'Where metrics go besides the page :9001/metrics.',
  ),
})

export interface MappingSpec {
  match: string
  name?: string
  labels?: Record<string, string>
  drop?: boolean
  buckets?: number[]
}

export interface MetricsAdapterSpec {
  statsd?: { udp?: string; tcp?: string; unix?: string; unixStream?: string }
  mappings?: MappingSpec[]
  buckets?: number[]
  prefix?: string
  maxSeries?: number
  expireAfter?: string
  scrape?: { url: string; interval?: string; timeout?: string; headers?: Record<string, string> }
  outputs?: {
    statsd?: { address: string; prefix?: string; tags?: 'datadog' | 'none' }
    otlp?: { endpoint: string; interval?: string; timeout?: string; headers?: Record<string, string> }
  }
}

/** MetricsAdapter: StatsD to Prometheus, and the app's Prometheus page to StatsD or OTLP. */
export const metricsAdapterKind: RoleKind = {
  spec: metricsAdapterSpec,
  serves: (spec) => [`${spec.prefix ?? ''}/metrics`],
  apart: 'put what they take into one, or give one of them a spec.prefix of its own: it then has a page of its own',
  check(given) {
    const spec = given as MetricsAdapterSpec
    const taken = wrongPrefix(spec.prefix)
    if (taken) return taken
    const wrong = (path: readonly string[], message: string) => ({ path: ['spec', ...path], message: `spec.${path.join('.')} ${message}` })
    const rising = (bounds: readonly number[] | undefined) =>
      !bounds || bounds.every((bound, at) => at === 0 || bound > (bounds[at - 1] as number))
    if (!rising(spec.buckets)) return wrong(['buckets'], 'must rise')
    for (const [at, mapping] of (spec.mappings ?? []).entries()) {
      if (!rising(mapping.buckets)) return wrong(['mappings', String(at), 'buckets'], 'must rise')
      const stars = mapping.match.split('*').length - 1
      const used = [mapping.name ?? '', ...Object.values(mapping.labels ?? {})].flatMap((one) =>
        [...one.matchAll(/\$(\d+)/g)].map(([, n]) => Number(n)),
      )
      const beyond = used.find((number) => number < 1 || number > stars)
      if (beyond !== undefined) return wrong(['mappings', String(at)], `uses $${beyond}, but "${mapping.match}" has ${stars} *`)
    }
    if (spec.outputs?.statsd && !spec.scrape) return wrong(['outputs', 'statsd'], 'sends what the app is scraped for: add spec.scrape')
    return undefined
  },
}
