import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { messageOf } from '../../errors.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'

export const environmentField: MetadataField = {
  name: 'azureEnvironment',
  kind: 'enum',
  aliases: ['azureCloud'],
  values: ['AzurePublicCloud', 'AzurePublic', 'AzureChinaCloud', 'AzureChina', 'AzureUSGovernmentCloud', 'AzureUSGovernment'],
  default: 'AzurePublicCloud',
  description: 'Which Azure it is.',
}

/** What Dapr's components say of signing in by Microsoft Entra ID. */
export const entraFields: readonly MetadataField[] = [
  { name: 'azureTenantId', kind: 'string', aliases: ['spnTenantId', 'tenantId'], description: 'Tenant of Microsoft Entra ID.' },
  {
    name: 'azureClientId',
    kind: 'string',
    aliases: ['spnClientId', 'clientId'],
    description: 'Application that signs in; with a managed identity, which of the machine’s.',
  },
  {
    name: 'azureClientSecret',
    kind: 'string',
    aliases: ['spnClientSecret', 'clientSecret'],
    sensitive: true,
    description: 'Its secret.',
  },
  {
    name: 'azureCertificate',
    kind: 'string',
    aliases: ['spnCertificate'],
    sensitive: true,
    description: 'In place of a secret: certificate and RSA key, as PEM.',
  },
  { name: 'azureCertificateFile', kind: 'string', aliases: ['spnCertificateFile'], description: 'The same as a file.' },
  {
    name: 'azureAuthMethods',
    kind: 'string',
    aliases: ['azureADAuthMethods', 'entraIDAuthMethods', 'microsoftEntraIDAuthMethods'],
    description:
      'Ways to sign in, in order, separated by commas: clientCredentials (creds), clientCertificate (cert), workloadIdentity (wi), managedIdentity (mi), none. Default: all, in this order.',
  },
]

export const METHODS = ['clientcredentials', 'clientcertificate', 'workloadidentity', 'managedidentity'] as const
export type Method = (typeof METHODS)[number]

const SHORT: Readonly<Record<string, Method>> = { creds: METHODS[0], cert: METHODS[1], wi: METHODS[2], mi: METHODS[3] }
const OTHERS = new Set(['spiffeworkloadidentity', 'spiffe', 'commandlineinterface', 'cli'])

export type Cloud = 'AzurePublic' | 'AzureChina' | 'AzureUSGovernment'

export interface EntraSettings {
  cloud: Cloud
  tenant: string
  client: string
  secret: string
  certificate: { key: KeyObject; thumbprint: string } | undefined
  methods: readonly Method[]
}

export function cloudOf(values: MetadataValues): Cloud {
  return String(values.azureEnvironment).replace(/Cloud$/, '') as Cloud
}

/** Whether the fields say anything of signing in by Entra ID. */
export function namesEntra(values: MetadataValues): boolean {
  return entraFields.some(({ name }) => values[name] !== undefined)
}

/** Throws MetadataError, with Dapr's words where it has some. */
export function readEntra(values: MetadataValues): EntraSettings {
  const text = (name: string) => (values[name] === undefined ? '' : String(values[name]))
  return {
    cloud: cloudOf(values),
    tenant: text('azureTenantId'),
    client: text('azureClientId'),
    secret: text('azureClientSecret'),
    certificate: certificateOf(text('azureCertificate'), text('azureCertificateFile')),
    methods: methodsOf(text('azureAuthMethods')),
  }
}

function methodsOf(text: string): readonly Method[] {
  if (text.trim() === '') return METHODS
  const found: Method[] = []
  for (const word of text.split(',').map((one) => one.trim().toLowerCase())) {
    if (word === 'none') throw new MetadataError("all Azure auth methods have been disabled with auth method 'None'")
    const method = METHODS.find((one) => one === word) ?? SHORT[word]
    if (method) found.push(method)
    else if (!OTHERS.has(word)) throw new MetadataError(`invalid Azure auth method: ${word}`)
  }
  if (found.length === 0) throw new MetadataError(`azureAuthMethods: "${text}" is not supported here: use ${METHODS.join(', ')}`)
  return found
}

function certificateOf(given: string, file: string): EntraSettings['certificate'] {
  if (given === '' && file === '') return undefined
  const name = file === '' ? 'azureCertificate' : `azureCertificateFile (${file})`
  try {
    const pem = file === '' ? given : readFileSync(file, 'latin1')
    if (!/-----BEGIN/.test(pem)) throw new Error('it is not PEM; make it so with openssl pkcs12 -nodes')
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType !== 'rsa') throw new Error('certificate must contain an RSA private key')
    const thumbprint = Buffer.from(new X509Certificate(pem).fingerprint256.replaceAll(':', ''), 'hex').toString('base64url')
    return { key, thumbprint }
  } catch (error) {
    throw new MetadataError(`metadata field ${name}: ${messageOf(error)}`, { cause: error })
  }
}
