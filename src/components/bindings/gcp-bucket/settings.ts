import { googleFields, type Identity, readIdentity } from '../../gcp/settings.ts'
import { isTruthy, MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  { name: 'bucket', kind: 'string', description: 'The bucket; it is not made. Required.' },
  ...googleFields,
  {
    name: 'decodeBase64',
    kind: 'bool',
    default: 'false',
    description: 'Content to be saved is Base64; metadata decodeBase64 of a request goes before it.',
  },
  {
    name: 'encodeBase64',
    kind: 'bool',
    default: 'false',
    description: 'Content is given as Base64; metadata encodeBase64 of a request goes before it.',
  },
  {
    name: 'signTTL',
    kind: 'string',
    description: 'How long a signed URL is good for, e.g. 15m; metadata signTTL of a request goes before it.',
  },
  { name: 'contentType', kind: 'string', description: 'Type of what is saved; metadata contentType of a request goes before it.' },
  {
    name: 'endpoint',
    kind: 'string',
    description: 'Address in place of Google, where nobody signs in; also STORAGE_EMULATOR_HOST. Ours, not in Dapr.',
  },
]

export interface BucketSettings {
  bucket: string
  identity: Identity
  /** Without a slash at its end. */
  base: URL
  /** Whether requests carry a token. */
  signed: boolean
  decodeBase64: boolean
  encodeBase64: boolean
  signTTL: string
  contentType: string
}

/** Throws MetadataError, with Dapr's words where it has some. */
export function readBucketSettings(properties: Readonly<Record<string, string>>): BucketSettings {
  const values = parseMetadata(fields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  if (text('bucket') === '') throw new MetadataError('missing property `bucket` in metadata')
  if (text('projectID') === '') throw new MetadataError('missing property `project_id` in metadata')
  const given = text('endpoint') || process.env.STORAGE_EMULATOR_HOST || ''
  const base = given === '' ? 'https://storage.googleapis.com' : given.includes('://') ? given : `http://${given}`
  if (!URL.canParse(base) || !/^https?:/.test(base))
    throw new MetadataError(`metadata field endpoint: "${given}" is not an http or https URL`)
  const own = text('privateKeyID') !== ''
  return {
    bucket: text('bucket'),
    identity: given === '' || own ? readIdentity(values) : { kind: 'nobody' },
    base: new URL(base),
    signed: given === '',
    decodeBase64: values.decodeBase64 === true,
    encodeBase64: values.encodeBase64 === true,
    signTTL: text('signTTL'),
    contentType: text('contentType'),
  }
}

/** The settings as the metadata of a request changes them. */
export function merged(settings: BucketSettings, metadata: Readonly<Record<string, string>>): BucketSettings {
  const flag = (name: 'decodeBase64' | 'encodeBase64') => (metadata[name] ? isTruthy(metadata[name]) : settings[name])
  return {
    ...settings,
    decodeBase64: flag('decodeBase64'),
    encodeBase64: flag('encodeBase64'),
    signTTL: metadata.signTTL || settings.signTTL,
    contentType: metadata.contentType || settings.contentType,
  }
}
