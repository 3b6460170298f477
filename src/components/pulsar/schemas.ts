import type { InputOf } from '../../transport/grpc/message.ts'
import { MetadataError } from '../metadata.ts'
import type { Schema } from './commands.ts'

/** The schema of a topic. */
export interface TopicSchema {
  registration: InputOf<typeof Schema>
  encode(data: Buffer, metadata: Readonly<Record<string, string>>): Buffer
  decode(payload: Buffer): Buffer
}

/** The fields `<topic>.jsonschema` and so on. Throws MetadataError. */
export function readSchemas(properties: Readonly<Record<string, string>>): Map<string, TopicSchema> {
  for (const name in properties)
    if (/\.(json|avro|proto|raw)schema$/.test(name)) throw new MetadataError(`metadata field ${name}: schemas are not supported yet`)
  return new Map()
}
