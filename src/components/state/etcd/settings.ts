import type { ConnectionOptions } from 'node:tls'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { shownAddress } from '../../shown-address.ts'

export const fields: readonly MetadataField[] = [
  { name: 'endpoints', kind: 'string', required: true, description: 'Servers of the cluster, `host:port`, separated by commas.' },
  { name: 'keyPrefixPath', kind: 'string', default: '', description: 'Stands before every key, with a slash after it.' },
  { name: 'tlsEnable', kind: 'bool', default: 'false', description: 'Speak TLS, with ca, cert and key.' },
  { name: 'ca', kind: 'string', description: 'PEM of the authorities that the servers must be signed by.' },
  { name: 'cert', kind: 'string', description: 'PEM of the certificate to show.' },
  { name: 'key', kind: 'string', sensitive: true, description: 'PEM of its private key.' },
  {
    name: 'maxTxnOps',
    kind: 'int',
    min: 1,
    default: '128',
    description: "Operations of one transaction, as the servers' flag --max-txn-ops allows.",
  },
]

export interface EtcdSettings {
  endpoints: string[]
  tls: ConnectionOptions | undefined
  /** Of every key, its slash included. */
  base: string
  maxTxnOps: number
}

/** Reads the component's properties; throws MetadataError. */
export function readSettings(properties: Readonly<Record<string, string>>): EtcdSettings {
  const values = parseMetadata(fields, properties)
  const given = (values.endpoints as string).split(',').map((text) => text.trim())
  const endpoints = given.map((text) => {
    const parts = /^(https?:\/\/)?([^/\s]+:\d+)\/?$/.exec(text)
    if (!parts) throw new MetadataError(`metadata field endpoints: "${shownAddress(text)}" is not host:port`)
    return parts[2] as string
  })
  let tls: ConnectionOptions | undefined = given.some((text) => text.startsWith('https:')) ? {} : undefined
  if (values.tlsEnable) {
    const { ca, cert, key } = values as Record<string, string | undefined>
    if (!ca || !cert || !key)
      throw new MetadataError('tls authentication information is incomplete: tlsEnable needs the metadata fields ca, cert and key')
    tls = { ca, cert, key, minVersion: 'TLSv1.2' }
  }
  return { endpoints, tls, base: `${values.keyPrefixPath as string}/`, maxTxnOps: values.maxTxnOps as number }
}
