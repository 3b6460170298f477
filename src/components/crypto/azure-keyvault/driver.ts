import type { CryptoProvider, WrapAlgorithm } from '../../../blocks/crypto/driver.ts'
import { messageOf } from '../../../errors.ts'
import { VaultClient, vaultFields } from '../../azure/vault-client.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { fromJwk, type Jwk, type LoadedKey } from '../key.ts'
import { wrapsWith } from '../wrap.ts'

const fields: readonly MetadataField[] = [
  ...vaultFields,
  { name: 'requestTimeout', kind: 'duration', default: '30s', description: 'Limit for a request to the vault.' },
]

const DEFAULT_TIMEOUT = 30_000
/** Public keys that are kept; the one that came first goes first. */
const KEPT = 100

/** crypto.azure.keyvault: keys that stay in the vault. One whose version is named wraps here, by its public part. */
export const driver: DriverModule<CryptoProvider> = {
  summary: 'Keys in Azure Key Vault, which they never leave.',
  metadata: fields,
  create(context) {
    const timeout = Number(parseMetadata(fields, context.properties).requestTimeout)
    const client = new VaultClient(context.properties)
    const kept = new Map<string, Promise<LoadedKey>>()
    const within = (signal: AbortSignal | undefined) => {
      const limit = AbortSignal.timeout(timeout >= 1000 ? timeout : DEFAULT_TIMEOUT)
      return signal ? AbortSignal.any([signal, limit]) : limit
    }

    const load = async (path: string): Promise<LoadedKey> => {
      const { key, attributes } = await client.send('GET', path, undefined, within(undefined)).catch((error: unknown) => {
        throw new Error(`failed to get key from Key Vault: ${messageOf(error)}`, { cause: error })
      })
      const { nbf = 0, exp = Number.POSITIVE_INFINITY } = (attributes ?? {}) as { nbf?: number; exp?: number }
      const now = Date.now() / 1000
      if (now < nbf || now > exp) throw new Error('the key is outside of its time validity bounds')
      const { kty, n, e } = (key ?? {}) as Jwk
      // Keys of hardware say so in their kind.
      return fromJwk({ kty: kty?.replace(/-HSM$/, ''), n, e } as Jwk)
    }
    const held = wrapsWith((path) => {
      const known = kept.get(path)
      if (known) return known
      const loading = load(path)
      kept.set(path, loading)
      loading.catch(() => kept.delete(path))
      if (kept.size > KEPT) kept.delete(kept.keys().next().value as string)
      return loading
    })

    const operate = async (verb: string, value: Buffer, algorithm: WrapAlgorithm, path: string, signal?: AbortSignal) => {
      const alg = algorithm.replace(/-NOPAD$/, '')
      const body = { alg, value: value.toString('base64url') }
      const { value: result } = await client.send('POST', `${path}/${verb}`, body, within(signal)).catch((error: unknown) => {
        throw new Error(`error from Key Vault: ${messageOf(error)}`, { cause: error })
      })
      if (typeof result !== 'string') throw new Error(`response from Key Vault does not contain a valid result of ${verb}`)
      return Buffer.from(result, 'base64url')
    }

    return {
      init: (signal) => client.open(signal),
      wrapKey(plaintext, algorithm, keyName, signal) {
        const { path, version } = placeOf(keyName)
        if (version !== '' && algorithm.startsWith('RS')) return held.wrapKey(plaintext, algorithm, path, signal)
        return operate('wrapkey', plaintext, algorithm, path, signal)
      },
      unwrapKey: (wrapped, algorithm, keyName, signal) => operate('unwrapkey', wrapped, algorithm, placeOf(keyName).path, signal),
      [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
    }
  },
}

/** `name` or `name/version`; without a version, or with the one called latest, it is the newest. */
function placeOf(keyName: string): { path: string; version: string } {
  const cut = keyName.indexOf('/')
  const [name, named] = cut > 0 ? [keyName.slice(0, cut), keyName.slice(cut + 1)] : [keyName, '']
  const version = named.toLowerCase() === 'latest' ? '' : named
  const path = `/keys/${encodeURIComponent(name)}/${encodeURIComponent(version)}`
  return { path, version }
}
