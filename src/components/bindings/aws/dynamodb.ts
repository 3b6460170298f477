import type { Binding } from '../../../blocks/bindings/driver.ts'
import { type Account, openAccount } from '../../aws/open.ts'
import { DYNAMODB } from '../../aws/services.ts'
import { accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  { name: 'table', kind: 'string', required: true, description: 'Table that items are put into.' },
  ...accountFields,
  endpointField,
]

type Attribute = Record<string, unknown>

/** bindings.aws.dynamodb: `create` puts a JSON object into a table as an item. */
export const driver: DriverModule<Binding> = {
  summary: 'Puts JSON objects into a table of AWS DynamoDB.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const account: Account = openAccount(readAccount(values, context.properties))
    const client = account.client(DYNAMODB)
    return {
      operations: ['create'],
      async init(signal) {
        await account.key(signal)
      },
      async invoke({ data }, signal) {
        await client.json('PutItem', { TableName: values.table, Item: itemOf(data) }, signal)
        return undefined
      },
      [Symbol.asyncDispose]: () => account[Symbol.asyncDispose](),
    }
  },
}

function itemOf(data: Buffer): Record<string, Attribute> {
  const value: unknown = JSON.parse(data.toString())
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('dynamodb binding: data is not a JSON object')
  return members(value)
}

function members(object: object): Record<string, Attribute> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, attributeOf(value)]))
}

function attributeOf(value: unknown): Attribute {
  if (typeof value === 'string') return { S: value }
  if (typeof value === 'number') return { N: String(value) }
  if (typeof value === 'boolean') return { BOOL: value }
  if (value === null) return { NULL: true }
  return Array.isArray(value) ? { L: value.map(attributeOf) } : { M: members(value as object) }
}
