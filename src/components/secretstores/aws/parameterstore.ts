import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { accountFields, ownEndpointField, readAccount } from '../../aws/settings.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { openStore } from './store.ts'

const fields: readonly MetadataField[] = [
  ...accountFields,
  ownEndpointField,
  { name: 'prefix', kind: 'string', description: 'Stands before the name of each secret, e.g. /orders/; others are not listed.' },
]

/** secretstores.aws.parameterstore: parameters of AWS Systems Manager, decrypted. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from the Parameter Store of AWS Systems Manager, secure strings decrypted.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const prefix = values.prefix === undefined ? '' : String(values.prefix)
    const filters = prefix === '' ? {} : { ParameterFilters: [{ Key: 'Name', Option: 'BeginsWith', Values: [prefix] }] }
    return openStore({
      service: { name: 'SSM', host: 'ssm', id: 'SSM', target: { prefix: 'AmazonSSM', version: '1.1' } },
      account: readAccount(values, context.properties),
      features: [],
      async read(client, name, metadata, signal) {
        const version = metadata.version_id === undefined ? '' : `:${metadata.version_id}`
        const reply = await client.json('GetParameter', { Name: `${prefix}${name}${version}`, WithDecryption: true }, signal)
        const { Name, Value } = (reply.Parameter ?? {}) as { Name?: string; Value?: string }
        return Name === undefined || Value === undefined ? {} : { [Name.slice(prefix.length)]: Value }
      },
      async page(client, token, size, signal) {
        const request = { ...filters, ...(token && { NextToken: token }), ...(size && { MaxResults: size }) }
        const reply = await client.json('DescribeParameters', request, signal)
        const { Parameters = [], NextToken } = reply as { Parameters?: { Name: string }[]; NextToken?: string }
        return { names: Parameters.map(({ Name }) => Name.slice(prefix.length)), ...(NextToken && { next: NextToken }) }
      },
    })
  },
}
