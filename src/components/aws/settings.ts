import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'
import { readProfile } from './profile.ts'

/** What every AWS component may say of its account, beside its own fields. */
export const accountFields: readonly MetadataField[] = [
  {
    name: 'region',
    kind: 'string',
    aliases: ['awsRegion'],
    description: "AWS region, e.g. eu-central-1; else AWS_REGION, AWS_DEFAULT_REGION or the profile's.",
  },
  {
    name: 'accessKey',
    kind: 'string',
    aliases: ['awsAccessKey'],
    description:
      "Access key, with secretKey; without them the sidecar's own: environment, web identity (IRSA), profile, container (ECS, EKS Pod Identity), machine (IMDSv2).",
  },
  { name: 'secretKey', kind: 'string', aliases: ['awsSecretKey'], sensitive: true, description: 'Secret of the access key.' },
  { name: 'sessionToken', kind: 'string', aliases: ['awsSessionToken'], sensitive: true, description: 'Token of a temporary access key.' },
  {
    name: 'assumeRoleArn',
    kind: 'string',
    description: 'Role to take with those keys, renewed before it expires. daprd documents it and does not do it.',
  },
  {
    name: 'sessionName',
    kind: 'string',
    aliases: ['assumeRoleSessionName'],
    default: 'DaprDefaultSession',
    description: 'Name of the session of that role.',
  },
]

/** `endpoint`, where a component has it. */
export const endpointField: MetadataField = {
  name: 'endpoint',
  kind: 'string',
  description:
    'Address to use in place of AWS, e.g. http://localhost:4566, for services and emulators of the same protocol; else AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL.',
}

/** `endpoint`, where Dapr's component has none. */
export const ownEndpointField: MetadataField = { ...endpointField, description: `${endpointField.description} Ours, not in Dapr.` }

export interface AwsSettings {
  region: string
  /** In place of every service's own; undefined: AWS. */
  endpoint: string | undefined
  key: { id: string; secret: string; token: string | undefined } | undefined
  role: { arn: string; session: string } | undefined
}

/** Reads the account's fields. Throws MetadataError naming what is missing. */
export function readAccount(values: MetadataValues, properties: Readonly<Record<string, string>>): AwsSettings {
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  const given = (name: string) =>
    Object.entries(properties).some(([key, value]) => key.toLowerCase() === name.toLowerCase() && value !== '')
  if (given('trustAnchorArn') && given('trustProfileArn'))
    throw new MetadataError(
      'metadata fields trustAnchorArn and trustProfileArn: IAM Roles Anywhere is not supported; give accessKey and secretKey, or a role that the pod or machine has',
    )
  const region = text('region') || process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION || readProfile(process.env).region
  if (!region) throw new MetadataError('metadata field region is missing: give the AWS region, e.g. us-east-1, or set AWS_REGION')
  const [id, secret] = [text('accessKey'), text('secretKey')]
  if ((id === '') !== (secret === '')) throw new MetadataError('metadata fields accessKey and secretKey: give both or neither')
  return {
    region,
    endpoint: text('endpoint') || undefined,
    key: id ? { id, secret, token: text('sessionToken') || undefined } : undefined,
    role: text('assumeRoleArn') ? { arn: text('assumeRoleArn'), session: text('sessionName') } : undefined,
  }
}

/** The part of AWS that a region belongs to, as it stands in ARNs. */
export function partitionOf(region: string): string {
  const found = PARTITIONS.find(([prefix]) => region.startsWith(prefix))
  return found?.[1] ?? 'aws'
}

const PARTITIONS = [
  ['cn-', 'aws-cn', 'amazonaws.com.cn'],
  ['eusc-', 'aws-eusc', 'amazonaws.eu'],
  ['us-isob-', 'aws-iso-b', 'sc2s.sgov.gov'],
  ['us-isof-', 'aws-iso-f', 'csp.hci.ic.gov'],
  ['us-iso-', 'aws-iso', 'c2s.ic.gov'],
  ['eu-isoe-', 'aws-iso-e', 'cloud.adc-e.uk'],
  ['us-gov-', 'aws-us-gov', 'amazonaws.com'],
] as const

/** Where a service of a region is reached. `id`: the service as AWS_ENDPOINT_URL_<ID> names it, e.g. `SECRETS_MANAGER`. */
export function endpointOf(settings: AwsSettings, host: string, id: string): URL {
  const given = settings.endpoint ?? process.env[`AWS_ENDPOINT_URL_${id}`] ?? process.env.AWS_ENDPOINT_URL
  if (given) {
    if (!URL.canParse(given) || !/^https?:$/.test(new URL(given).protocol))
      throw new MetadataError(`metadata field endpoint: "${given}" is not an http or https URL`)
    return new URL(given)
  }
  const suffix = PARTITIONS.find(([prefix]) => settings.region.startsWith(prefix))?.[2] ?? 'amazonaws.com'
  return new URL(`https://${host}.${settings.region}.${suffix}`)
}
