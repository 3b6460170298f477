import type { Schema } from './json-schema.ts'

/** What the schemas of Dapr's kinds are made of. */
export const text: Schema = { type: 'string' }
export const bool: Schema = { type: 'boolean' }
export const int: Schema = { type: 'integer' }
export const texts: Schema = { type: 'array', items: text }
export const textMap: Schema = { type: 'object', additionalProperties: text }
export const anything: Schema = {}

export function object(properties: Record<string, Schema>, required: string[] = [], rest: Partial<Schema> = {}): Schema {
  return { type: 'object', properties, ...(required.length > 0 ? { required } : {}), ...rest }
}
export function list(items: Schema, rest: Partial<Schema> = {}): Schema {
  return { type: 'array', items, ...rest }
}
export function map(values: Schema): Schema {
  return { type: 'object', additionalProperties: values }
}
export function described(description: string, schema: Schema): Schema {
  return { ...schema, description }
}
