import { textIn, within, type XmlElement } from '../../aws/xml.ts'

type Kind = 'text' | 'flag' | 'number' | 'time'

/** Members of a blob's properties as Azure's Go SDK, and so daprd, writes them: name, name in the reply, kind. */
const PROPERTIES: readonly (readonly [name: string, element: string, kind: Kind])[] = [
  ['ETag', 'Etag', 'text'],
  ['LastModified', 'Last-Modified', 'time'],
  ['AccessTier', 'AccessTier', 'text'],
  ['AccessTierChangeTime', 'AccessTierChangeTime', 'time'],
  ['AccessTierInferred', 'AccessTierInferred', 'flag'],
  ['ArchiveStatus', 'ArchiveStatus', 'text'],
  ['BlobSequenceNumber', 'x-ms-blob-sequence-number', 'number'],
  ['BlobType', 'BlobType', 'text'],
  ['CacheControl', 'Cache-Control', 'text'],
  ['ContentDisposition', 'Content-Disposition', 'text'],
  ['ContentEncoding', 'Content-Encoding', 'text'],
  ['ContentLanguage', 'Content-Language', 'text'],
  ['ContentLength', 'Content-Length', 'number'],
  ['ContentMD5', 'Content-MD5', 'text'],
  ['ContentType', 'Content-Type', 'text'],
  ['CopyCompletionTime', 'CopyCompletionTime', 'time'],
  ['CopyID', 'CopyId', 'text'],
  ['CopyProgress', 'CopyProgress', 'text'],
  ['CopySource', 'CopySource', 'text'],
  ['CopyStatus', 'CopyStatus', 'text'],
  ['CopyStatusDescription', 'CopyStatusDescription', 'text'],
  ['CreationTime', 'Creation-Time', 'time'],
  ['CustomerProvidedKeySHA256', 'CustomerProvidedKeySha256', 'text'],
  ['DeletedTime', 'DeletedTime', 'time'],
  ['DestinationSnapshot', 'CopyDestinationSnapshot', 'text'],
  ['EncryptionScope', 'EncryptionScope', 'text'],
  ['ExpiresOn', 'Expiry-Time', 'time'],
  ['ImmutabilityPolicyExpiresOn', 'ImmutabilityPolicyUntilDate', 'time'],
  ['ImmutabilityPolicyMode', 'ImmutabilityPolicyMode', 'text'],
  ['IncrementalCopy', 'IncrementalCopy', 'flag'],
  ['IsSealed', 'Sealed', 'flag'],
  ['LastAccessedOn', 'LastAccessTime', 'time'],
  ['LeaseDuration', 'LeaseDuration', 'text'],
  ['LeaseState', 'LeaseState', 'text'],
  ['LeaseStatus', 'LeaseStatus', 'text'],
  ['LegalHold', 'LegalHold', 'flag'],
  ['RehydratePriority', 'RehydratePriority', 'text'],
  ['RemainingRetentionDays', 'RemainingRetentionDays', 'number'],
  ['ServerEncrypted', 'ServerEncrypted', 'flag'],
  ['TagCount', 'TagCount', 'number'],
]

/** One blob of a list. */
export function listed(blob: XmlElement): Record<string, unknown> {
  const properties = within(blob, 'Properties')
  const metadata = within(blob, 'Metadata')
  return {
    Deleted: memberOf(blob, 'Deleted', 'flag'),
    Name: textIn(blob, 'Name') ?? '',
    Properties: Object.fromEntries(PROPERTIES.map(([name, element, kind]) => [name, memberOf(properties, element, kind)])),
    Snapshot: memberOf(blob, 'Snapshot', 'text'),
    BlobTags: null,
    HasVersionsOnly: memberOf(blob, 'HasVersionsOnly', 'flag'),
    IsCurrentVersion: memberOf(blob, 'IsCurrentVersion', 'flag'),
    Metadata: metadata?.children.length ? Object.fromEntries(metadata.children.map(({ name, text }) => [name, text])) : null,
    OrMetadata: null,
    VersionID: memberOf(blob, 'VersionId', 'text'),
  }
}

function memberOf(parent: XmlElement | undefined, element: string, kind: Kind): string | number | boolean | null {
  const text = textIn(parent, element)
  if (text === undefined || text === '') return null
  if (kind === 'flag') return text === 'true'
  if (kind === 'number') return Number(text)
  if (kind === 'time') return Number.isNaN(Date.parse(text)) ? text : new Date(text).toISOString().replace('.000Z', 'Z')
  return text
}
