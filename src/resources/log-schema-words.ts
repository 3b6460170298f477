import { object, text } from './agent-schema.ts'
import type { Schema } from './json-schema.ts'

/** Words in which the schema of a LogPipeline is written. */
export const described = (description: string, schema: Schema): Schema => ({ ...schema, description })
export const quantity = (description: string): Schema => ({ 'x-text': true, description })
/** ECMAScript's, checked when the pipeline opens. */
export const regex = (description: string): Schema => ({ type: 'string', minLength: 1, description })
export const list = (items: Schema, minItems?: number): Schema => ({ type: 'array', items, ...(minItems !== undefined && { minItems }) })
export const texts = (description: string): Schema => described(description, list({ type: 'string', minLength: 1 }))

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
