import { allIn, textIn, within, type XmlElement } from '../../aws/xml.ts'

/** S3's list of objects as the JSON that daprd gives: members and order of the Go SDK's result. */
export function listingJson(list: XmlElement): string {
  const text = (name: string) => textIn(list, name) ?? null
  return JSON.stringify({
    CommonPrefixes: orNull(allIn(list, 'CommonPrefixes').map((one) => ({ Prefix: textIn(one, 'Prefix') ?? null }))),
    Contents: orNull(allIn(list, 'Contents').map(objectOf)),
    Delimiter: text('Delimiter'),
    EncodingType: textIn(list, 'EncodingType') ?? '',
    IsTruncated: within(list, 'IsTruncated') ? textIn(list, 'IsTruncated') === 'true' : null,
    Marker: text('Marker'),
    MaxKeys: numberOf(list, 'MaxKeys'),
    Name: text('Name'),
    NextMarker: text('NextMarker'),
    Prefix: text('Prefix'),
    RequestCharged: '',
    ResultMetadata: {},
  })
}

function objectOf(object: XmlElement) {
  const owner = within(object, 'Owner')
  const restore = within(object, 'RestoreStatus')
  return {
    ChecksumAlgorithm: orNull(allIn(object, 'ChecksumAlgorithm').map(({ text }) => text)),
    ChecksumType: textIn(object, 'ChecksumType') ?? '',
    ETag: textIn(object, 'ETag') ?? null,
    Key: textIn(object, 'Key') ?? null,
    LastModified: timeOf(object, 'LastModified'),
    Owner: owner ? { DisplayName: textIn(owner, 'DisplayName') ?? null, ID: textIn(owner, 'ID') ?? null } : null,
    RestoreStatus: restore
      ? { IsRestoreInProgress: textIn(restore, 'IsRestoreInProgress') === 'true', RestoreExpiryDate: timeOf(restore, 'RestoreExpiryDate') }
      : null,
    Size: numberOf(object, 'Size'),
    StorageClass: textIn(object, 'StorageClass') ?? '',
  }
}

/** Go writes no fraction where there is none. */
function timeOf(element: XmlElement, name: string): string | null {
  const text = textIn(element, name)
  return text === undefined ? null : text.replace(/(\.\d*?)0+Z$/, '$1Z').replace('.Z', 'Z')
}

function numberOf(element: XmlElement, name: string): number | null {
  const text = textIn(element, name)
  return text === undefined || text === '' ? null : Number(text)
}

function orNull<T>(list: T[]): T[] | null {
  return list.length > 0 ? list : null
}
