import { MetadataError } from '../../metadata.ts'

/** What a connection string of Service Bus or Event Hubs says. */
export interface ConnectionString {
  host: string
  /** As written; undefined: the protocol's own. */
  port: number | undefined
  /** Queue, topic or hub that it is for. */
  entityPath: string | undefined
  /** Either a key, or a signature that somebody else has made. */
  key: { name: string; key: string } | undefined
  signature: string | undefined
  /** Microsoft's emulator: plain TCP. */
  emulator: boolean
}

/** `Endpoint=sb://host/;SharedAccessKeyName=…;SharedAccessKey=…[;EntityPath=…]`. Throws MetadataError, which never shows the text. */
export function parseConnectionString(text: string, field = 'connectionString'): ConnectionString {
  const refuse = (why: string): never => {
    throw new MetadataError(
      `metadata field ${field}: ${why}; expected Endpoint=sb://<namespace>.servicebus.windows.net/;SharedAccessKeyName=<name>;SharedAccessKey=<key>`,
    )
  }
  const parts = new Map<string, string>()
  for (const part of text.split(';')) {
    const at = part.indexOf('=')
    if (at > 0) parts.set(part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).trim())
  }
  const endpoint = parts.get('endpoint') ?? refuse('it has no Endpoint')
  const written = endpoint.includes('://') ? endpoint : `sb://${endpoint}`
  const found =
    /^[a-z+]+:\/\/(\[[^\]]+\]|[^:/?#@]+)(?::(\d+))?\/?$/i.exec(written) ?? refuse('its Endpoint is not the address of a namespace')
  const name = parts.get('sharedaccesskeyname') ?? ''
  const key = parts.get('sharedaccesskey') ?? ''
  const signature = parts.get('sharedaccesssignature')
  const emulator = parts.get('usedevelopmentemulator')?.toLowerCase() === 'true'
  if (signature === undefined && (name === '' || key === ''))
    refuse('it needs SharedAccessKeyName and SharedAccessKey, or SharedAccessSignature')
  return {
    host: (found[1] as string).replace(/^\[|\]$/g, ''),
    port: found[2] === undefined ? undefined : Number(found[2]),
    entityPath: parts.get('entitypath') || undefined,
    key: signature === undefined ? { name, key } : undefined,
    signature,
    emulator,
  }
}
