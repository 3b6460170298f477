import type { AwsSettings } from '../../aws/settings.ts'
import { accountFields, endpointField, readAccount } from '../../aws/settings.ts'
import { isTruthy, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  { name: 'bucket', kind: 'string', required: true, description: 'Bucket of the objects.' },
  ...accountFields,
  endpointField,
  {
    name: 'forcePathStyle',
    kind: 'bool',
    default: 'false',
    description: 'Asks for `<endpoint>/<bucket>/<key>` in place of `<bucket>.<endpoint>/<key>`; most servers that are not AWS need it.',
  },
  {
    name: 'decodeBase64',
    kind: 'bool',
    default: 'false',
    description: 'Content to be saved is Base64; request metadata of the same name overrides it.',
  },
  {
    name: 'encodeBase64',
    kind: 'bool',
    default: 'false',
    description: 'Content is given as Base64; request metadata of the same name overrides it.',
  },
  { name: 'disableSSL', kind: 'bool', default: 'false', description: 'An endpoint without a scheme is http.' },
  { name: 'insecureSSL', kind: 'bool', default: 'false', description: 'Trusts every certificate of the endpoint.' },
  {
    name: 'filePath',
    kind: 'string',
    description: "File on the sidecar's disk that `create` saves in place of its data; most often given with the request.",
  },
  { name: 'presignTTL', kind: 'string', description: 'How long presigned URLs can be used, e.g. 15m; with it `create` answers with one.' },
  { name: 'storageClass', kind: 'string', description: 'Storage class of saved objects, e.g. STANDARD_IA.' },
]

/** What a request's metadata may have otherwise than the component's. */
export interface RequestSettings {
  decodeBase64: boolean
  encodeBase64: boolean
  filePath: string
  presignTTL: string
  storageClass: string
}

export interface S3Settings extends RequestSettings {
  account: AwsSettings
  bucket: string
  pathStyle: boolean
  insecure: boolean
}

export function readSettings(properties: Readonly<Record<string, string>>): S3Settings {
  const values = parseMetadata(fields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  const account = readAccount(values, properties)
  const { endpoint } = account
  const bare = endpoint !== undefined && !/^https?:\/\//.test(endpoint)
  return {
    account: bare ? { ...account, endpoint: `${values.disableSSL === true ? 'http' : 'https'}://${endpoint}` } : account,
    bucket: text('bucket'),
    pathStyle: values.forcePathStyle === true,
    insecure: values.insecureSSL === true,
    decodeBase64: values.decodeBase64 === true,
    encodeBase64: values.encodeBase64 === true,
    filePath: text('filePath'),
    presignTTL: text('presignTTL'),
    storageClass: text('storageClass'),
  }
}

/** The component's settings with those of one request. */
export function merged(settings: S3Settings, metadata: Readonly<Record<string, string>>): RequestSettings {
  const flag = (name: 'decodeBase64' | 'encodeBase64') => (metadata[name] ? isTruthy(metadata[name]) : settings[name])
  return {
    decodeBase64: flag('decodeBase64'),
    encodeBase64: flag('encodeBase64'),
    filePath: metadata.filePath || settings.filePath,
    presignTTL: metadata.presignTTL || settings.presignTTL,
    storageClass: metadata.storageClass || settings.storageClass,
  }
}
