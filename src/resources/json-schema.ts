/** The part of JSON Schema that resource kinds need; what `schemaOf` gives is valid JSON Schema for editors. */
export interface Schema {
  $schema?: string
  title?: string
  description?: string
  type?: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean'
  properties?: Readonly<Record<string, Schema>>
  /** For objects without fixed names. With `properties`: absent, other names are reported and ignored; false, they are mistakes. */
  additionalProperties?: boolean | Schema
  required?: readonly string[]
  items?: Schema
  enum?: readonly string[]
  pattern?: string
  minimum?: number
  maximum?: number
  minLength?: number
  maxLength?: number
  minItems?: number
  maxItems?: number
  minProperties?: number
  maxProperties?: number
  /** The value is text, whatever YAML reads: objects and lists become JSON text. */
  'x-text'?: boolean
}
