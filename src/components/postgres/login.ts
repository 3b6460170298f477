import { accountFields, readAccount } from '../aws/settings.ts'
import { type Cloud, entraFields, environmentField, readEntra } from '../azure/entra-settings.ts'
import { MetadataError, type MetadataField, type MetadataValues } from '../metadata.ts'

/** How a component says that its password is a token of Azure or AWS. */
export const loginFields: readonly MetadataField[] = [
  {
    name: 'useAzureAD',
    kind: 'bool',
    default: 'false',
    description: 'Signs in by Microsoft Entra ID, as the azure… fields say: each new connection has a token as its password.',
  },
  environmentField,
  ...entraFields,
  {
    name: 'useAWSIAM',
    kind: 'bool',
    default: 'false',
    description:
      'Signs in to Amazon RDS or Aurora by IAM, with the fields of an AWS account: each new connection has a token as its password.',
  },
  ...accountFields,
]

/** What Entra ID's tokens for databases are for. */
const DATABASES: Readonly<Record<Cloud, string>> = {
  AzurePublic: 'https://ossrdbms-aad.database.windows.net',
  AzureChina: 'https://ossrdbms-aad.database.chinacloudapi.cn',
  AzureUSGovernment: 'https://ossrdbms-aad.database.usgovcloudapi.net',
}

/** Gives each new connection its password; rejects with the reason of the cloud that has none. */
export interface Login extends AsyncDisposable {
  password(): Promise<string>
}

/**
 * The login that the fields ask for; undefined: the password is the connection's own. Its cloud's client loads with the first connection.
 * `endpoint`: host:port, for which RDS's tokens are. Throws MetadataError.
 */
export function readLogin(
  values: MetadataValues,
  properties: Readonly<Record<string, string>>,
  { endpoint, user }: { endpoint: string; user: string },
): Login | undefined {
  const { useAzureAD, useAWSIAM } = values
  if (!useAzureAD && !useAWSIAM) return undefined
  if (useAzureAD && useAWSIAM) throw new MetadataError('metadata fields useAzureAD and useAWSIAM: give one of them')
  if (!user)
    throw new MetadataError(
      `missing user: ${useAzureAD ? 'useAzureAD' : 'useAWSIAM'} takes a user of the database, in connectionString or user`,
    )
  return useAzureAD ? entraLogin(values) : iamLogin(values, properties, endpoint, user)
}

function entraLogin(values: MetadataValues): Login {
  const settings = readEntra(values)
  return heldLogin(async () => {
    const { Entra } = await import('../azure/entra.ts')
    const entra = new Entra(settings, DATABASES[settings.cloud])
    return { password: () => entra.token(), [Symbol.asyncDispose]: () => entra[Symbol.asyncDispose]() }
  })
}

function iamLogin(values: MetadataValues, properties: Readonly<Record<string, string>>, endpoint: string, user: string): Login {
  const settings = readAccount(values, properties)
  return heldLogin(async () => {
    const [{ Keys }, { databaseToken }] = await Promise.all([import('../aws/keys.ts'), import('../aws/tokens.ts')])
    const keys = new Keys(settings)
    return {
      password: async () => databaseToken(endpoint, user, await keys.current(), settings.region, Date.now()),
      [Symbol.asyncDispose]: () => keys[Symbol.asyncDispose](),
    }
  })
}

/** Opened with the first password. */
function heldLogin(open: () => Promise<Login>): Login {
  let held: Promise<Login> | undefined
  return {
    async password() {
      held ??= open()
      return (await held).password()
    },
    async [Symbol.asyncDispose]() {
      await (await held)?.[Symbol.asyncDispose]()
    },
  }
}
