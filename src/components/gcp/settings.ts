import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { messageOf } from '../../errors.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'

/** What Dapr's components on Google Cloud say of the project and of who signs in. */
export const googleFields: readonly MetadataField[] = [
  { name: 'projectID', kind: 'string', aliases: ['project_id'], description: 'Project of Google Cloud. Required.' },
  {
    name: 'privateKeyID',
    kind: 'string',
    aliases: ['private_key_id'],
    description:
      "Id of the service account's key, with privateKey and clientEmail; without it the sidecar's own credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud's, the machine's.",
  },
  { name: 'privateKey', kind: 'string', aliases: ['private_key'], sensitive: true, description: 'The key, as PEM.' },
  { name: 'clientEmail', kind: 'string', aliases: ['client_email'], description: 'Address of the service account.' },
  { name: 'clientID', kind: 'string', aliases: ['client_id'], description: 'Its number; not needed.' },
  {
    name: 'tokenURI',
    kind: 'string',
    aliases: ['token_uri'],
    default: 'https://oauth2.googleapis.com/token',
    description: 'Where tokens are asked for.',
  },
  { name: 'authURI', kind: 'string', aliases: ['auth_uri'], description: 'Not used.' },
  { name: 'authProviderX509CertURL', kind: 'string', aliases: ['auth_provider_x509_cert_url'], description: 'Not used.' },
  { name: 'clientX509CertURL', kind: 'string', aliases: ['client_x509_cert_url'], description: 'Not used.' },
  { name: 'type', kind: 'string', description: 'service_account.' },
]

/** Who signs in. */
export type Identity =
  | { kind: 'account'; email: string; keyId: string; key: string; tokenUri: string }
  | { kind: 'user'; clientId: string; clientSecret: string; refreshToken: string }
  | { kind: 'machine' }
  /** An emulator, which asks for nobody. */
  | { kind: 'nobody' }

/** The identity of the metadata, else Google's Application Default Credentials. Throws MetadataError. */
export function readIdentity(values: MetadataValues, env: NodeJS.ProcessEnv = process.env): Identity {
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  if (text('privateKeyID') === '') return defaultIdentity(env)
  for (const [name, word] of [
    ['privateKey', 'private_key'],
    ['clientEmail', 'client_email'],
  ] as const)
    if (text(name) === '') throw new MetadataError(`missing property \`${word}\` in metadata`)
  return {
    kind: 'account',
    email: text('clientEmail'),
    keyId: text('privateKeyID'),
    // From the environment line ends often come as two characters.
    key: text('privateKey').replaceAll('\\n', '\n'),
    tokenUri: text('tokenURI'),
  }
}

function defaultIdentity(env: NodeJS.ProcessEnv): Identity {
  const given = env.GOOGLE_APPLICATION_CREDENTIALS
  const file =
    given || join(env.CLOUDSDK_CONFIG || join(env.HOME || homedir(), '.config', 'gcloud'), 'application_default_credentials.json')
  let found: Record<string, unknown>
  try {
    found = objectOf(readFileSync(file, 'utf8'))
  } catch (error) {
    if (!given && (error as NodeJS.ErrnoException).code === 'ENOENT') return { kind: 'machine' }
    throw new MetadataError(`no Google credentials in ${file}: ${messageOf(error)}`, { cause: error })
  }
  const text = (name: string) => (typeof found[name] === 'string' ? (found[name] as string) : '')
  if (found.type === 'service_account')
    return {
      kind: 'account',
      email: text('client_email'),
      keyId: text('private_key_id'),
      key: text('private_key'),
      tokenUri: text('token_uri') || 'https://oauth2.googleapis.com/token',
    }
  if (found.type === 'authorized_user')
    return { kind: 'user', clientId: text('client_id'), clientSecret: text('client_secret'), refreshToken: text('refresh_token') }
  throw new MetadataError(`${file}: credentials of type ${String(found.type)} are not supported: use service_account or authorized_user`)
}

function objectOf(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // The parser's message quotes the text, which holds a key.
  }
  if (typeof value !== 'object' || value === null) throw new Error('it is no JSON object')
  return value as Record<string, unknown>
}
