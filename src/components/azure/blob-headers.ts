/** Request metadata that is a header of the blob, by its name in lower case. */
const HEADERS: Readonly<Record<string, string>> = {
  contenttype: 'x-ms-blob-content-type',
  contentmd5: 'x-ms-blob-content-md5',
  contentencoding: 'x-ms-blob-content-encoding',
  contentlanguage: 'x-ms-blob-content-language',
  contentdisposition: 'x-ms-blob-content-disposition',
  cachecontrol: 'x-ms-blob-cache-control',
}

/** The headers that save request metadata with a blob, as daprd does: what is a header of the blob, and the rest as its metadata. */
export function headersOf(metadata: Readonly<Record<string, string>>, contentType?: string): Record<string, string> {
  const headers: Record<string, string> = { 'x-ms-blob-type': 'BlockBlob' }
  for (const [name, value] of Object.entries(metadata)) {
    const header = HEADERS[name.toLowerCase()]
    if (header !== undefined) {
      if (value !== '') headers[header] = value
      continue
    }
    const allowed = name.replaceAll(/[^A-Za-z0-9]/g, '')
    if (allowed !== '') headers[`x-ms-meta-${allowed.toLowerCase()}`] = value.replaceAll(/[^\t\u0020-\u007e]/g, '')
  }
  if (contentType) headers['x-ms-blob-content-type'] = contentType
  const md5 = headers['x-ms-blob-content-md5']
  if (md5 !== undefined && (!/^[A-Za-z0-9+/]{22}==$/.test(md5) || Buffer.from(md5, 'base64').length !== 16))
    throw new Error('the MD5 value specified in Content MD5 is invalid, MD5 value must be 128 bits and base64 encoded')
  return headers
}
