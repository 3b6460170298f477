import type { StateItem, StateSet } from '../../../blocks/state/driver.ts'
import { checkedId } from '../../azure/cosmos-container.ts'
import { readTtl, rfc3339 } from '../ttl.ts'

/** A document as daprd lays it out; Azure adds `_etag` and `_ts`, seconds of the epoch at the last write. */
export interface StateDocument {
  id: string
  value?: unknown
  isBinary?: boolean
  partitionKey?: string
  ttl?: number
  _etag: string
  _ts: number
}

/** What bytes are that come without a type: the component's `contentType` decides. */
export type BytesAs = 'json' | 'text' | 'bytes'

export function bytesAs(contentType: string): BytesAs {
  const type = (contentType.toLowerCase().split(';')[0] as string).trim()
  if (type === 'application/json') return 'json'
  return type.startsWith('text/') || type === 'application/xml' ? 'text' : 'bytes'
}

/** JSON text of the document. Throws what is wrong with the TTL or the key. */
export function documentOf({ key, value, json, metadata }: StateSet, partition: string, as: BytesAs): string {
  const ttl = readTtl(metadata, "error parsing TTL from metadata: incorrect value for metadata 'ttlInSeconds': ")
  const [content, isBinary] = json ? [value.toString(), false] : contentOf(value, as)
  const more = ttl === undefined || ttl === 0 ? '' : `,"ttl":${ttl}`
  const names = `"id":${JSON.stringify(checkedId(key))},"partitionKey":${JSON.stringify(partition)}`
  return `{${names},"value":${content},"isBinary":${isBinary}${more}}`
}

/** Bytes are Base64, unless they are text or a JSON object and the component says that such are kept so. */
function contentOf(value: Buffer, as: BytesAs): [content: string, isBinary: boolean] {
  if (value.length > 0 && as === 'text') return [JSON.stringify(value.toString()), false]
  if (as === 'json') {
    const text = objectText(value)
    if (text !== undefined) return [text, false]
  }
  return [`"${value.toString('base64')}"`, true]
}

function objectText(value: Buffer): string | undefined {
  const text = value.toString()
  if (!/^\s*[{n]/.test(text)) return undefined
  try {
    const read: unknown = JSON.parse(text)
    return typeof read === 'object' && !Array.isArray(read) ? text : undefined
  } catch {
    return undefined
  }
}

export function itemOf(document: StateDocument): StateItem {
  const { ttl, _ts, _etag } = document
  const metadata = ttl !== undefined && ttl > 0 ? { ttlExpireTime: rfc3339((_ts + ttl) * 1000) } : undefined
  return { data: dataOf(document), etag: _etag, ...(metadata && { metadata }) }
}

export function dataOf({ value, isBinary }: StateDocument): Buffer {
  if (isBinary !== true) return Buffer.from(JSON.stringify(value ?? null))
  if (typeof value !== 'string') return Buffer.alloc(0)
  // Somebody else's text may stand there: it is given as it is, as daprd does.
  const isBase64 = value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value)
  return isBase64 ? Buffer.from(value, 'base64') : Buffer.from(value)
}
