import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import type { AwsClient, Service } from '../../aws/client.ts'
import { AwsError } from '../../aws/errors.ts'
import { openAccount } from '../../aws/open.ts'
import type { AwsSettings } from '../../aws/settings.ts'

/** What differs between the services of AWS that keep secrets. */
export interface Vault {
  service: Service
  account: AwsSettings
  features: SecretStore['features']
  read(client: AwsClient, name: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Record<string, string>>
  /** A page of names, as `read` takes them; `size`: of so many, else of the service's own size. */
  page(client: AwsClient, token: string | undefined, size?: number, signal?: AbortSignal): Promise<{ names: string[]; next?: string }>
}

/** Secrets asked for at once when all are wanted; AWS lets few be read a second. */
const PARALLEL = 4

/** A store of secrets in one of AWS's services. */
export function openStore({ service, account: settings, features, read, page }: Vault): SecretStore {
  const account = openAccount(settings)
  const client = account.client(service)

  const list = (token?: string, size?: number, signal?: AbortSignal) =>
    page(client, token, size, signal).catch((error: Error) => {
      throw new Error(`couldn't list secrets: ${error.message}`, { cause: error })
    })
  const get = (name: string, metadata: Readonly<Record<string, string>>, signal?: AbortSignal) =>
    read(client, name, metadata, signal).catch((error: Error) => {
      throw new Error(`couldn't get secret: ${error.message}`, { cause: error })
    })

  return {
    features,
    // Which of the service's actions the key may use is not known here: that there is one is all to be asked for.
    async init(signal) {
      await account.key(signal)
    },
    async ping(signal) {
      await list(undefined, 1, signal).catch((error: Error) => {
        if (!isCode(error.cause, /^AccessDenied/)) throw error
      })
    },
    get,
    async bulkGet(_metadata, signal) {
      const found: Record<string, Record<string, string>> = {}
      let token: string | undefined
      do {
        const { names, next } = await list(token, undefined, signal)
        let at = 0
        const worker = async () => {
          for (let name = names[at++]; name !== undefined; name = names[at++]) {
            try {
              found[name] = await get(name, {}, signal)
            } catch (error) {
              // Deleted meanwhile.
              if (!(error instanceof Error && isCode(error.cause, /^(ResourceNotFoundException|ParameterNotFound)$/))) throw error
            }
          }
        }
        await Promise.all(Array.from({ length: Math.min(PARALLEL, names.length) }, worker))
        token = next
      } while (token)
      return found
    },
    [Symbol.asyncDispose]: () => account[Symbol.asyncDispose](),
  }
}

function isCode(error: unknown, code: RegExp): boolean {
  return error instanceof AwsError && code.test(error.code)
}
