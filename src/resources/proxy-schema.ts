import type { Schema } from './json-schema.ts'

/** spec of a Proxy. */
export const proxySpec: Schema = {
  type: 'object',
  properties: {
    envoy: {
      type: 'string',
      minLength: 1,
      description: 'Path of a static configuration of Envoy that says all of it. Relative paths count from the working directory.',
    },
    lenient: {
      type: 'boolean',
      description: 'Fields of that file that nothing here acts on are reported and passed over. Default false: they are mistakes.',
    },
  },
  additionalProperties: false,
}

/** As written. */
export interface ProxySpec {
  envoy?: string
  lenient?: boolean
}

/** What the schema cannot say. */
export function checkProxy(spec: Readonly<Record<string, unknown>>): { message: string; path?: string[] } | undefined {
  const { envoy } = spec as ProxySpec
  if (envoy === undefined) return { message: 'spec.envoy is missing: the path of a static configuration of Envoy', path: ['spec'] }
  return undefined
}
