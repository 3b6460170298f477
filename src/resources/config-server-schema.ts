import {
  count,
  duration,
  list,
  map,
  object,
  prefixOfRoutes,
  type SecretRef,
  secretRef,
  text,
  wrongPrefix,
  wrongSecretRef,
} from './agent-schema.ts'
import type { RoleKind } from './role-kinds.ts'

/** spec of a ConfigServer. */
export const configServerSpec = object(
  {
    sources: list(
      object(
        {
          name: text('For the log, the status and the copy on disk.', { pattern: '^[a-zA-Z0-9._-]{1,63}$' }),
          consul: object(
            {
              address: text('URL of an agent. Default http://127.0.0.1:8500.', { pattern: '^https?://[^/]' }),
              prefix: text('Of the keys in KV. Default config.'),
              datacenter: text('Default: the agent’s own.'),
              token: secretRef('ACL token.'),
            },
            [],
            'Consul KV, followed by blocking queries.',
          ),
          etcd: object(
            {
              endpoints: list(text('host:port'), 'Tried in turn.', { minItems: 1 }),
              prefix: text('Of the keys. Default config/.'),
              tls: { type: 'boolean', description: 'Speak TLS. Default false.' },
            },
            ['endpoints'],
            'etcd v3.',
          ),
          redis: object(
            {
              address: text('host:port. Default 127.0.0.1:6379.'),
              prefix: text('Of the keys. Default config:.'),
              database: count('Default 0.', 0, 1000),
              username: text('User of Redis ACLs.'),
              password: secretRef('Password.'),
              tls: { type: 'boolean', description: 'Speak TLS. Default false.' },
            },
            [],
            'Strings and hashes in Redis.',
          ),
          files: object(
            { folder: text('Files named as their service: orders.yaml, orders.yml or orders.json.') },
            ['folder'],
            'YAML and JSON files, followed.',
          ),
          component: object(
            {
              name: text('A configuration component.'),
              keys: list(text('Key.'), 'Keys that are asked for. Default: all.'),
              prefix: text('Keys without it are passed over; the rest of the key counts. Default: none.'),
              metadata: map({ type: 'string' }, 'Given to the component.'),
            },
            ['name'],
            'Any configuration component of this sidecar.',
          ),
          service: text('All keys are of this service. Default: the first part of each key names its service.'),
          separator: text('Between the parts of a key. Default /, in Redis a colon.', { maxLength: 4 }),
          values: {
            type: 'string',
            enum: ['json', 'text'],
            description: 'json (default): numbers, true, false, lists and objects are taken as such, the rest as text. text: all as text.',
          },
          interval: duration('How often a source that does not tell of changes is read. Default 5s.'),
        },
        ['name'],
      ),
      'Where configuration comes from; what comes later in the list wins.',
      { minItems: 1, maxItems: 20 },
    ),
    shared: text('The service whose configuration all others get as well, below their own. Default application.'),
    prefix: prefixOfRoutes(),
    service: text('Whose configuration GET /config gives. Default: the app id.'),
    features: text('The part of the configuration that holds flags. Default features.'),
    redact: list(text('Word.'), 'Values of keys with one of these words in their name are left out of answers.', { maxItems: 100 }),
  },
  ['sources'],
)

export interface SourceSpec {
  name: string
  consul?: { address?: string; prefix?: string; datacenter?: string; token?: SecretRef }
  etcd?: { endpoints: string[]; prefix?: string; tls?: boolean }
  redis?: { address?: string; prefix?: string; database?: number; username?: string; password?: SecretRef; tls?: boolean }
  files?: { folder: string }
  component?: { name: string; keys?: string[]; prefix?: string; metadata?: Record<string, string> }
  service?: string
  separator?: string
  values?: 'json' | 'text'
  interval?: string
}

export interface ConfigServerSpec {
  sources: SourceSpec[]
  shared?: string
  prefix?: string
  service?: string
  features?: string
  redact?: string[]
}

const KINDS = ['consul', 'etcd', 'redis', 'files', 'component'] as const

/** ConfigServer: configuration and flags for apps, over HTTP. */
export const configServerKind: RoleKind = {
  spec: configServerSpec,
  serves: (spec) => [`${spec.prefix ?? ''}/config`],
  apart: 'put the sources of both into one (what comes later in the list wins), or give one of them a spec.prefix of its own',
  check(given) {
    const { sources, prefix } = given as unknown as ConfigServerSpec
    const taken = wrongPrefix(prefix)
    if (taken) return taken
    const seen = new Set<string>()
    for (const [at, source] of sources.entries()) {
      const wrong = (message: string) => ({ path: ['spec', 'sources', String(at)], message: `spec.sources[${at}] ${message}` })
      if (seen.has(source.name)) return wrong(`has the name of another one, ${source.name}`)
      seen.add(source.name)
      const kinds = KINDS.filter((kind) => source[kind] !== undefined)
      if (kinds.length !== 1) return wrong(`needs one of ${KINDS.join(', ')}; it has ${kinds.join(' and ') || 'none'}`)
      const secret = wrongSecretRef(source.consul?.token) ?? wrongSecretRef(source.redis?.password)
      if (secret) return wrong(`${source.consul ? 'consul.token' : 'redis.password'} ${secret}`)
    }
    return undefined
  },
}
