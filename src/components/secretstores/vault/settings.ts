import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

export const fields: readonly MetadataField[] = [
  { name: 'vaultAddr', kind: 'string', default: 'https://127.0.0.1:8200', description: 'Address of the server.' },
  {
    name: 'vaultToken',
    kind: 'string',
    sensitive: true,
    description: 'Token; or give vaultTokenMountPath, or vaultAuthMethod kubernetes.',
  },
  {
    name: 'vaultTokenMountPath',
    kind: 'string',
    description: 'File with the token; read again when the server refuses the one there was.',
  },
  { name: 'vaultKVPrefix', kind: 'string', default: 'dapr', description: 'Stands before the name of each secret.' },
  { name: 'vaultKVUsePrefix', kind: 'bool', default: 'true', description: 'Whether there is a prefix.' },
  { name: 'enginePath', kind: 'string', default: 'secret', description: 'Where the key-value engine is mounted.' },
  {
    name: 'vaultValueType',
    kind: 'enum',
    values: ['map', 'text'],
    default: 'map',
    description: 'Whether a secret is given as its members, or whole as one text.',
  },
  {
    name: 'vaultKVVersion',
    kind: 'enum',
    values: ['1', '2'],
    default: '2',
    description: 'Version of the key-value engine. Ours, not in Dapr.',
  },
  {
    name: 'vaultAuthMethod',
    kind: 'enum',
    values: ['token', 'kubernetes'],
    default: 'token',
    description: 'How the sidecar signs in: with a token, or with its Kubernetes service account. Ours, not in Dapr.',
  },
  { name: 'vaultKubernetesRole', kind: 'string', description: 'Role of the Kubernetes sign-in. Ours, not in Dapr.' },
  {
    name: 'vaultKubernetesMountPath',
    kind: 'string',
    default: 'kubernetes',
    description: 'Where the Kubernetes sign-in is mounted. Ours, not in Dapr.',
  },
  {
    name: 'vaultKubernetesTokenPath',
    kind: 'string',
    default: '/var/run/secrets/kubernetes.io/serviceaccount/token',
    description: "File with the service account's token. Ours, not in Dapr.",
  },
  { name: 'caPem', kind: 'string', description: 'Certificates that the server is trusted by, as PEM; wins over caPath and caCert.' },
  { name: 'caPath', kind: 'string', description: 'Folder of certificates; wins over caCert.' },
  { name: 'caCert', kind: 'string', description: 'File of certificates.' },
  { name: 'skipVerify', kind: 'bool', default: 'false', description: 'Trusts every certificate.' },
  { name: 'tlsServerName', kind: 'string', description: "Name that the server's certificate is for, if not its host." },
]

export interface VaultSettings {
  address: URL
  engine: string
  /** With the slash that ends it; empty: none. */
  prefix: string
  version: 1 | 2
  text: boolean
  auth:
    | { kind: 'token'; token: string }
    | { kind: 'file'; path: string }
    | { kind: 'kubernetes'; role: string; mount: string; path: string }
  tls: ConnectionOptions
}

/** Throws MetadataError naming the setting. */
export function readSettings(properties: Readonly<Record<string, string>>): VaultSettings {
  const values = parseMetadata(fields, properties)
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  let address: URL
  try {
    address = new URL(text('vaultAddr'))
  } catch {
    throw new MetadataError(`vaultAddr: ${text('vaultAddr')} is no URL; write it as https://host:8200`)
  }
  return {
    address,
    engine: text('enginePath').replace(/^\/+|\/+$/g, ''),
    prefix: values.vaultKVUsePrefix === true ? `${text('vaultKVPrefix').replace(/^\/+|\/+$/g, '')}/` : '',
    version: text('vaultKVVersion') === '1' ? 1 : 2,
    text: text('vaultValueType') === 'text',
    auth: authOf(text),
    tls: {
      ...trusted(text),
      ...(values.skipVerify === true && { rejectUnauthorized: false }),
      ...(text('tlsServerName') && { servername: text('tlsServerName') }),
    },
  }
}

function authOf(text: (name: string) => string): VaultSettings['auth'] {
  const token = text('vaultToken')
  const path = text('vaultTokenMountPath')
  if (text('vaultAuthMethod') === 'kubernetes') {
    const role = text('vaultKubernetesRole')
    if (!role) throw new MetadataError('vaultKubernetesRole is missing: vaultAuthMethod kubernetes needs the role to sign in with')
    return { kind: 'kubernetes', role, mount: text('vaultKubernetesMountPath'), path: text('vaultKubernetesTokenPath') }
  }
  if (token && path) throw new MetadataError('token mount path and token both set: give vaultToken or vaultTokenMountPath')
  if (token) return { kind: 'token', token }
  if (path) return { kind: 'file', path }
  throw new MetadataError('token mount path and token not set: give vaultToken or vaultTokenMountPath')
}

function trusted(text: (name: string) => string): ConnectionOptions {
  if (text('caPem')) return { ca: text('caPem') }
  try {
    const folder = text('caPath')
    if (folder) return { ca: readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8')) }
    if (text('caCert')) return { ca: readFileSync(text('caCert'), 'utf8') }
  } catch (error) {
    throw new MetadataError(
      `${text('caPath') ? 'caPath' : 'caCert'} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
  return {}
}
