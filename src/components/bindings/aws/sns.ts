import type { Binding } from '../../../blocks/bindings/driver.ts'
import { openAccount } from '../../aws/open.ts'
import { SNS } from '../../aws/services.ts'
import { accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  { name: 'topicArn', kind: 'string', required: true, description: 'ARN of the topic.' },
  ...accountFields,
  endpointField,
]

/** bindings.aws.sns: `create` publishes `{"message": …, "subject": …}` to a topic. */
export const driver: DriverModule<Binding> = {
  summary: 'Publishes to a topic of AWS SNS.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const account = openAccount(readAccount(values, context.properties))
    const client = account.client(SNS)
    return {
      operations: ['create'],
      async init(signal) {
        await account.key(signal)
      },
      async invoke({ data }, signal) {
        const payload: unknown = JSON.parse(data.toString())
        const { message, subject } = (payload ?? {}) as { message?: unknown; subject?: unknown }
        if (message === undefined) throw new Error('sns binding: data has no "message"; send {"message": "…", "subject": "…"}')
        const request: [string, string][] = [
          ['TopicArn', String(values.topicArn)],
          ['Message', textOf(message)],
        ]
        if (subject !== undefined && subject !== null) request.push(['Subject', textOf(subject)])
        await client.query('Publish', request, signal)
        return undefined
      },
      [Symbol.asyncDispose]: () => account[Symbol.asyncDispose](),
    }
  },
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
