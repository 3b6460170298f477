import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { messageOf } from '../../../errors.ts'
import { VaultClient, VaultError, vaultFields } from '../../azure/vault-client.ts'
import type { DriverModule } from '../../component.ts'

/** Secrets asked for at once when all are wanted. */
const PARALLEL = 4

interface Page {
  value?: readonly { id: string; attributes?: { enabled?: boolean } }[]
  nextLink?: string | null
}

/** secretstores.azure.keyvault: the secrets of one vault. Disabled ones are not among all. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from Azure Key Vault.',
  metadata: vaultFields,
  create(context) {
    const client = new VaultClient(context.properties)

    const get = async (name: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal) => {
      const path = `/secrets/${encodeURIComponent(name)}/${encodeURIComponent(metadata.version_id ?? '')}`
      const { value } = await client.send('GET', path, undefined, signal)
      return { [name]: typeof value === 'string' ? value : '' }
    }

    return {
      features: [],
      init: (signal) => client.open(signal),
      async ping(signal) {
        await client.send('GET', '/secrets?maxresults=1', undefined, signal).catch((error: unknown) => {
          // That the vault lets nobody list is an answer.
          if (!(error instanceof VaultError && error.status === 403)) throw error
        })
      },
      get,
      async bulkGet(metadata, signal) {
        const most = mostOf(metadata.maxresults)
        const found: Record<string, Record<string, string>> = {}
        let next: string | undefined = '/secrets'
        while (next !== undefined) {
          const { value = [], nextLink }: Page = await client.send('GET', next, undefined, signal)
          const names = value.filter(({ attributes }) => attributes?.enabled).map(({ id }) => new URL(id).pathname.split('/')[2] as string)
          // In the vault's order, whichever answer comes first.
          for (const name of names) found[name] = {}
          let at = 0
          const worker = async () => {
            for (let name = names[at++]; name !== undefined; name = names[at++]) found[name] = await get(name, {}, signal)
          }
          await Promise.all(Array.from({ length: Math.min(PARALLEL, names.length) }, worker))
          next = nextLink ? pathOf(nextLink) : undefined
          if (most > 0 && Object.keys(found).length >= most) break
        }
        return found
      },
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    }
  },
}

function mostOf(text: string | undefined): number {
  if (!text) return 0
  if (!/^[+-]?\d+$/.test(text)) throw new Error(`maxresults: "${text}" is not a whole number`)
  return Number(text)
}

/** Only the path of the vault's link is followed: the token goes to no other host. */
function pathOf(link: string): string {
  try {
    const { pathname, search } = new URL(link)
    return pathname + search
  } catch (error) {
    throw new Error(`the vault's link to the next page is no URL: ${messageOf(error)}`)
  }
}
