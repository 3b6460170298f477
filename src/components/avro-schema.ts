/** A type of Avro (https://avro.apache.org/docs/1.12.0/specification/). */
export type Avro =
  | { kind: 'null' | 'boolean' | 'int' | 'long' | 'float' | 'double' | 'bytes' | 'string' }
  | { kind: 'array' | 'map'; items: Avro }
  | { kind: 'union'; members: readonly Avro[] }
  | { kind: 'enum'; name: string; symbols: readonly string[] }
  | { kind: 'fixed'; name: string; size: number }
  | { kind: 'record'; name: string; fields: readonly { name: string; type: Avro; fallback: unknown }[] }

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const
type Primitive = (typeof PRIMITIVES)[number]
/** Types inside each other, far less than the stack holds. */
export const MOST_DEPTH = 100

/** A schema from its JSON. Throws saying what is wrong with it. */
export function parseAvro(schema: unknown): Avro {
  return parse(schema, '', new Map(), 0)
}

function parse(schema: unknown, space: string, named: Map<string, Avro>, depth: number): Avro {
  if (depth > MOST_DEPTH) throw new Error(`its types stand more than ${MOST_DEPTH} deep in each other`)
  if (typeof schema === 'string') {
    if (PRIMITIVES.includes(schema as Primitive)) return { kind: schema as Primitive }
    const found = named.get(schema) ?? named.get(`${space}.${schema}`)
    if (found === undefined) throw new Error(`unknown type name: ${JSON.stringify(schema)}`)
    return found
  }
  if (Array.isArray(schema)) return { kind: 'union', members: schema.map((member) => parse(member, space, named, depth + 1)) }
  if (typeof schema !== 'object' || schema === null) throw new Error('a type is a name, a list or an object')
  const { type, name, namespace, items, values, symbols, size, fields } = schema as Record<string, unknown>
  switch (type) {
    case 'array':
      return { kind: 'array', items: parse(items, space, named, depth + 1) }
    case 'map':
      return { kind: 'map', items: parse(values, space, named, depth + 1) }
    case 'record':
    case 'error':
    case 'enum':
    case 'fixed':
      break
    default:
      return parse(type, space, named, depth + 1)
  }
  if (typeof name !== 'string' || name === '') throw new Error(`a type ${type} has no name`)
  const inside = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : typeof namespace === 'string' ? namespace : space
  const full = inside && !name.includes('.') ? `${inside}.${name}` : name
  const know = <T extends Avro>(made: T): T => {
    named.set(full, made)
    return made
  }
  if (type === 'enum') {
    if (!Array.isArray(symbols) || !symbols.every((one) => typeof one === 'string')) throw new Error(`enum ${name} has no symbols`)
    return know({ kind: 'enum', name: full, symbols })
  }
  if (type === 'fixed') {
    if (typeof size !== 'number') throw new Error(`fixed ${name} has no size`)
    return know({ kind: 'fixed', name: full, size })
  }
  if (!Array.isArray(fields)) throw new Error(`record ${name} has no fields`)
  const parsed: { name: string; type: Avro; fallback: unknown }[] = []
  // Known before its fields are read: they may hold it again.
  const record = know({ kind: 'record', name: full, fields: parsed })
  for (const field of fields as { name?: unknown; type?: unknown; default?: unknown }[]) {
    if (typeof field?.name !== 'string') throw new Error(`a field of record ${name} has no name`)
    parsed.push({ name: field.name, type: parse(field.type, inside, named, depth + 1), fallback: field.default })
  }
  return record
}
