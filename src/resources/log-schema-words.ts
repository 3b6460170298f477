import type { Schema } from './json-schema.ts'

const DURATION = '^(\\d+(\\.\\d+)?(ns|us|µs|ms|s|m|h))+$'

/** Words in which the schema of a LogPipeline is written. */
export const described = (description: string, schema: Schema): Schema => ({ ...schema, description })
export const text = (description: string): Schema => ({ type: 'string', minLength: 1, description })
export const duration = (description: string): Schema => ({
  type: 'string',
  pattern: DURATION,
  description: `${description} As 500ms, 2s or 1m30s.`,
})
export const quantity = (description: string): Schema => ({ 'x-text': true, description })
/** ECMAScript's, checked when the pipeline opens. */
export const regex = (description: string): Schema => ({ type: 'string', minLength: 1, description })
export const list = (items: Schema, minItems?: number): Schema => ({ type: 'array', items, ...(minItems !== undefined && { minItems }) })
export const texts = (description: string): Schema => described(description, list({ type: 'string', minLength: 1 }))

/** Closed: a name that is not known here is a mistake. */
export function object(properties: Record<string, Schema>, required: string[] = []): Schema {
  return { type: 'object', properties, additionalProperties: false, ...(required.length > 0 ? { required } : {}) }
}

/** Text that may stand elsewhere. */
export const secretText = (description: string): Schema =>
  described(
    description,
    object({
      value: { 'x-text': true, description: 'The text itself.' },
      envRef: text('Environment variable that holds it.'),
      secretStore: text('Secret store component of secretKeyRef.'),
      secretKeyRef: object({ name: text('Name of the secret.'), key: text('Field of the secret; default: its name.') }, ['name']),
    }),
  )
