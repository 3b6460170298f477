import type { Binding } from '../../../blocks/bindings/driver.ts'
import { messageOf } from '../../../errors.ts'
import { CosmosContainer } from '../../azure/cosmos-container.ts'
import { cosmosFields, readCosmosSettings } from '../../azure/cosmos-settings.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  ...cosmosFields,
  {
    name: 'partitionKey',
    kind: 'string',
    required: true,
    missing: 'partitionKey is required',
    description: "Member of a document that is the container's partition key, e.g. orderId, or customer.id for a member of a member.",
  },
]

/** bindings.azure.cosmosdb: `create` makes a document of a JSON object. */
export const driver: DriverModule<Binding> = {
  summary: 'Makes documents in a container of Azure Cosmos DB.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const settings = readCosmosSettings(values)
    const container = new CosmosContainer(settings)
    const field = String(values.partitionKey)
    return {
      operations: ['create'],
      async init(signal) {
        const paths = (await container.facts(signal)).partitionKey?.paths ?? []
        if (paths.map(memberOf).join() !== field)
          throw new MetadataError(
            `metadata field partitionKey: it is ${field}, and documents of container ${settings.container} are told apart by ${paths.map(memberOf).join(' and ') || 'nothing'}: give what the container has`,
          )
      },
      async ping(signal) {
        await container.facts(signal)
      },
      async invoke({ data }, signal) {
        const document = data.toString()
        await container.create(document, partitionOf(parsed(document), field), signal)
        return undefined
      },
      [Symbol.asyncDispose]: () => container[Symbol.asyncDispose](),
    }
  },
}

/** `customer.id` of the path `/customer/id`, whose names may be quoted. */
function memberOf(path: string): string {
  return path
    .slice(1)
    .split('/')
    .map((name) => name.replace(/^"(.*)"$/, '$1'))
    .join('.')
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Error(`data is not JSON: ${messageOf(error)}`, { cause: error })
  }
}

function partitionOf(document: unknown, field: string): string {
  let value = document
  for (const name of field.split('.')) {
    const within = typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, name)
    if (!within) throw new Error(`missing partitionKey field ${field} from request body - key not found ${name}`)
    value = (value as Record<string, unknown>)[name]
  }
  if (typeof value !== 'string') throw new Error('partition key is not a string')
  if (value === '') throw new Error(`partitionKey field ${field} from request body is empty`)
  return value
}
