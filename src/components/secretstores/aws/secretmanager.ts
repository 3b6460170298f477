import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { openStore } from './store.ts'

const fields: readonly MetadataField[] = [
  ...accountFields,
  endpointField,
  {
    name: 'multipleKeyValuesPerSecret',
    kind: 'bool',
    default: 'false',
    description: 'A secret that is a JSON object is given as its members; other values than texts as JSON.',
  },
]

interface Reply {
  Name?: string
  SecretString?: string
}

/** secretstores.aws.secretmanager: texts of AWS Secrets Manager; binary secrets are empty, as with daprd. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from AWS Secrets Manager.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const several = values.multipleKeyValuesPerSecret === true
    return openStore({
      service: {
        name: 'Secrets Manager',
        host: 'secretsmanager',
        id: 'SECRETS_MANAGER',
        target: { prefix: 'secretsmanager', version: '1.1' },
      },
      account: readAccount(values, context.properties),
      features: several ? ['MULTIPLE_KEY_VALUES_PER_SECRET'] : [],
      async read(client, name, metadata, signal) {
        const request = {
          SecretId: name,
          ...(metadata.version_id !== undefined && { VersionId: metadata.version_id }),
          ...(metadata.version_stage !== undefined && { VersionStage: metadata.version_stage }),
        }
        const { Name, SecretString } = (await client.json('GetSecretValue', request, signal)) as Reply
        if (Name === undefined || SecretString === undefined) return {}
        return (several && membersOf(SecretString)) || { [Name]: SecretString }
      },
      async page(client, token, size, signal) {
        const reply = await client.json('ListSecrets', { ...(token && { NextToken: token }), ...(size && { MaxResults: size }) }, signal)
        const { SecretList = [], NextToken } = reply as { SecretList?: { Name: string }[]; NextToken?: string }
        return { names: SecretList.map(({ Name }) => Name), ...(NextToken && { next: NextToken }) }
      },
    })
  },
}

/** undefined: it is no JSON object. */
function membersOf(text: string): Record<string, string> | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || Array.isArray(value)) return undefined
  return Object.fromEntries(Object.entries(value ?? {}).map(([key, one]) => [key, typeof one === 'string' ? one : JSON.stringify(one)]))
}
