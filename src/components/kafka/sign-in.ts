import { createPrivateKey, type KeyObject } from 'node:crypto'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { accountFields, readAccount } from '../aws/settings.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'
import type { TokenRequest } from './oidc.ts'
import type { Sasl } from './sasl.ts'

const AUTH_TYPES = ['none', 'password', 'mtls', 'certificate', 'oidc', 'oidc_private_key_jwt', 'awsiam'] as const
type AuthType = (typeof AUTH_TYPES)[number]

/** Names that these fields of an AWS account had before. */
const OLDER: Readonly<Record<string, string>> = { assumeRoleArn: 'awsIamRoleArn', sessionName: 'awsStsSessionName' }

/** How a component signs in at its brokers. */
export const signInFields: readonly MetadataField[] = [
  {
    name: 'authType',
    kind: 'enum',
    values: AUTH_TYPES,
    required: true,
    description: 'How to sign in. Everything but none talks TLS, unless disableTls.',
  },
  {
    name: 'authRequired',
    kind: 'bool',
    description: 'Older form of authType: false is none; true is password with saslPassword, else mtls.',
  },
  { name: 'saslUsername', kind: 'string', description: 'User, authType password.' },
  { name: 'saslPassword', kind: 'string', sensitive: true, description: 'Password, authType password.' },
  {
    name: 'saslMechanism',
    kind: 'enum',
    values: ['PLAINTEXT', 'SHA-256', 'SHA-512'],
    default: 'PLAINTEXT',
    description: 'How the password is shown: as it is, or with SCRAM.',
  },
  { name: 'caCert', kind: 'string', description: "Certificate of the brokers' authority, PEM." },
  { name: 'clientCert', kind: 'string', description: 'Client certificate, PEM, authType mtls.' },
  { name: 'clientKey', kind: 'string', sensitive: true, description: 'Key of the client certificate, PEM.' },
  { name: 'disableTls', kind: 'bool', default: 'false', description: 'No TLS, although authType is not none.' },
  { name: 'skipVerify', kind: 'bool', default: 'false', description: "Does not check the brokers' certificates." },
  {
    name: 'oidcTokenEndpoint',
    kind: 'string',
    description: 'Where to get tokens (client credentials), authType oidc and oidc_private_key_jwt.',
  },
  { name: 'oidcClientID', kind: 'string', description: 'Client id there.' },
  { name: 'oidcClientSecret', kind: 'string', sensitive: true, description: 'Client secret, authType oidc.' },
  {
    name: 'oidcClientAssertionKey',
    kind: 'string',
    sensitive: true,
    description: 'RSA key, PEM, that signs in place of a secret, authType oidc_private_key_jwt.',
  },
  {
    name: 'oidcClientAssertionCert',
    kind: 'string',
    description:
      'Certificate of that key, PEM. Wanted with oidc_private_key_jwt, as daprd does, and not sent: oidcKid names it to the issuer.',
  },
  { name: 'oidcKid', kind: 'string', description: 'Name of the key in the header of what it signs.' },
  {
    name: 'oidcAudience',
    kind: 'string',
    description: 'For whom the signed text is, and the token. Default: oidcTokenEndpoint, and not said.',
  },
  { name: 'oidcResource', kind: 'string', description: 'Resource that the token is for, authType oidc_private_key_jwt.' },
  { name: 'oidcScopes', kind: 'string', default: 'openid', description: 'Scopes of the token, comma-separated.' },
  { name: 'oidcExtensions', kind: 'string', description: 'SASL extensions sent beside the token, a JSON object.' },
  ...accountFields.map((field) => {
    const older = OLDER[field.name]
    return older ? { ...field, aliases: [...(field.aliases ?? []), older] } : field
  }),
]

export interface SignIn {
  tls: TlsOptions | undefined
  sasl: Sasl | undefined
}

/** Reads the fields above. Throws MetadataError naming what is missing. */
export function readSignIn(values: MetadataValues, properties: Readonly<Record<string, string>>): SignIn {
  const authType = values.authType as AuthType
  const need = (...names: string[]) => {
    for (const name of names) if (!values[name]) throw new MetadataError(`kafka error: missing ${name} for authType '${authType}'`)
  }
  if (authType === 'certificate') need('caCert')
  if (authType === 'mtls') {
    if (values.disableTls) throw new MetadataError("kafka error: authType 'mtls' needs TLS: set disableTls to false")
    if (!values.clientCert !== !values.clientKey) throw new MetadataError('kafka error: clientKey or clientCert is missing')
  }
  return {
    tls: authType === 'none' || values.disableTls ? undefined : tlsOf(values, authType),
    sasl: saslOf(values, properties, authType, need),
  }
}

/** `authRequired`, the older form of `authType`, as the newer one. */
export function withAuthType(properties: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const given = (name: string) => Object.entries(properties).find(([key, value]) => key.toLowerCase() === name && value !== '')?.[1]
  const required = given('authrequired')
  if (required === undefined || given('authtype') !== undefined) return properties
  if (!/^(1|t|true|0|f|false)$/i.test(required)) throw new MetadataError("kafka error: invalid value for 'authRequired' attribute")
  const authType = /^[0f]/i.test(required) ? 'none' : given('saslpassword') === undefined ? 'mtls' : 'password'
  return { ...properties, authType }
}

function tlsOf(values: MetadataValues, authType: AuthType): TlsOptions {
  const pem = (name: string): string | undefined => {
    const text = values[name] as string | undefined
    if (text && !text.includes('-----BEGIN ')) throw new MetadataError(`kafka error: invalid ${name}: it is not PEM`)
    return text || undefined
  }
  const ca = pem('caCert')
  const cert = authType === 'mtls' ? pem('clientCert') : undefined
  const key = authType === 'mtls' ? pem('clientKey') : undefined
  return {
    minVersion: 'TLSv1.2',
    rejectUnauthorized: !values.skipVerify,
    ...(ca ? { ca } : {}),
    ...(cert && key ? { cert, key } : {}),
  }
}

function saslOf(
  values: MetadataValues,
  properties: Readonly<Record<string, string>>,
  authType: AuthType,
  need: (...names: string[]) => void,
): Sasl | undefined {
  switch (authType) {
    case 'password': {
      need('saslUsername', 'saslPassword')
      const mechanisms = { PLAINTEXT: 'PLAIN', 'SHA-256': 'SCRAM-SHA-256', 'SHA-512': 'SCRAM-SHA-512' } as const
      const mechanism = mechanisms[values.saslMechanism as keyof typeof mechanisms]
      return { mechanism, username: values.saslUsername as string, password: values.saslPassword as string }
    }
    case 'oidc':
      need('oidcTokenEndpoint', 'oidcClientID', 'oidcClientSecret')
      return oauth(values, authType, { secret: values.oidcClientSecret as string })
    case 'oidc_private_key_jwt':
      need('oidcTokenEndpoint', 'oidcClientID', 'oidcClientAssertionCert', 'oidcClientAssertionKey')
      return oauth(values, authType, {
        key: rsaKey(values.oidcClientAssertionKey as string),
        kid: values.oidcKid as string | undefined,
        audience: values.oidcAudience as string | undefined,
        resource: values.oidcResource as string | undefined,
      })
    case 'awsiam':
      return iam(values, properties)
    default:
      return undefined
  }
}

function oauth(values: MetadataValues, authType: AuthType, proof: TokenRequest['proof']): Sasl {
  let extensions: Record<string, string> = {}
  if (values.oidcExtensions) {
    try {
      extensions = JSON.parse(values.oidcExtensions as string) as Record<string, string>
    } catch {
      throw new MetadataError(`kafka error: improper OIDC Extensions format for authType '${authType}'`)
    }
  }
  const request: TokenRequest = {
    endpoint: values.oidcTokenEndpoint as string,
    clientId: values.oidcClientID as string,
    proof,
    scopes: (values.oidcScopes as string).split(','),
    ca: values.caCert as string | undefined,
    skipVerify: values.skipVerify as boolean,
  }
  return { mechanism: 'OAUTHBEARER', extensions, token: async () => (await import('./oidc.ts')).token(request) }
}

function rsaKey(pem: string): KeyObject {
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType === 'rsa') return key
  } catch {
    // The parser's words may quote the key.
  }
  throw new MetadataError('metadata field oidcClientAssertionKey: the given value is not an RSA private key in PEM')
}

/** Amazon MSK's brokers take a signed URL as a token. */
function iam(values: MetadataValues, properties: Readonly<Record<string, string>>): Sasl {
  const settings = readAccount(values, properties)
  const open = async () => {
    const [{ Keys }, { brokerToken }] = await Promise.all([import('../aws/keys.ts'), import('../aws/tokens.ts')])
    return { keys: new Keys(settings), brokerToken }
  }
  let held: ReturnType<typeof open> | undefined
  return {
    mechanism: 'OAUTHBEARER',
    extensions: {},
    async token() {
      held ??= open()
      const { keys, brokerToken } = await held
      return brokerToken(await keys.current(), settings.region, Date.now())
    },
    async close() {
      await (await held)?.keys[Symbol.asyncDispose]()
    },
  }
}
