import { parseDuration } from '../components/metadata.ts'
import type { Schema } from './json-schema.ts'

// Words that the schemas of the roles share.

export const DURATION = '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$'

/** Closed: a name that is not known is a mistake. */
export function object(properties: Record<string, Schema>, required: readonly string[] = [], description?: string): Schema {
  return {
    ...(description !== undefined && { description }),
    type: 'object',
    properties,
    additionalProperties: false,
    ...(required.length > 0 && { required }),
  }
}

export function list(items: Schema, description: string, rest: Partial<Schema> = {}): Schema {
  return { type: 'array', items, description, ...rest }
}

export function text(description: string, rest: Partial<Schema> = {}): Schema {
  return { type: 'string', minLength: 1, description, ...rest }
}

export function map(values: Schema, description: string): Schema {
  return { type: 'object', additionalProperties: values, description }
}

export function flag(description: string): Schema {
  return { type: 'boolean', description }
}

export function duration(description: string): Schema {
  return { type: 'string', pattern: DURATION, description: `${description} As 500ms, 2s or 1m30s.` }
}

export function count(description: string, minimum = 1, maximum = 1_000_000): Schema {
  return { type: 'integer', minimum, maximum, description }
}

/** Milliseconds of a text that fits {@link DURATION}, or of the default. */
export function milliseconds(given: string | undefined, fallback: string): number {
  return parseDuration(given ?? fallback) as number
}

/** Where a secret is found: one of `env`, `file`, or `secretStore` with `name`. */
export interface SecretRef {
  env?: string
  file?: string
  secretStore?: string
  name?: string
  key?: string
}

export function secretRef(description: string): Schema {
  return object(
    {
      env: text('Environment variable.'),
      file: text('Path of a file; read each time it is needed.'),
      secretStore: text('Secret store component.'),
      name: text('Of the secret in that store.'),
      key: text('Of the secret; default its name.'),
    },
    [],
    `${description} One of env, file, or secretStore with name.`,
  )
}

/** What is wrong with a {@link SecretRef} that fits its schema; undefined: nothing. */
export function wrongSecretRef(ref: SecretRef | undefined): string | undefined {
  if (!ref) return undefined
  const ways = [ref.env, ref.file, ref.secretStore].filter((way) => way !== undefined).length
  if (ways !== 1) return 'needs one of env, file and secretStore'
  return ref.secretStore !== undefined && ref.name === undefined ? 'needs the name of the secret beside secretStore' : undefined
}

const PREFIX = '^(/[A-Za-z0-9._~-]+)+$'
/** First parts of paths that are somebody's on the agents' port. */
const TAKEN = ['config', 'features', 'health', 'log', 'metrics', 'ofrep', 'ready', 'status']

/** A prefix of routes on the agents' port. */
export function prefixOfRoutes(more = '') {
  return text(`Before its paths on :9001, e.g. /second; for another one of its kind in the same process. Default: none.${more}`, {
    pattern: PREFIX,
    maxLength: 100,
  })
}

/** What is wrong with a prefix, as a role's check says it. */
export function wrongPrefix(prefix: string | undefined) {
  const first = prefix?.split('/')[1] ?? ''
  if (!TAKEN.includes(first)) return undefined
  return {
    path: ['spec', 'prefix'],
    message: `spec.prefix ${prefix}: /${first} is somebody's on the agents' port already; choose another name`,
  }
}
