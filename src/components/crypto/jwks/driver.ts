import type { CryptoProvider } from '../../../blocks/crypto/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { createKeySet } from '../key-set.ts'
import { wrapsWith } from '../wrap.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'jwks',
    kind: 'string',
    required: true,
    sensitive: true,
    description: 'The key set: JSON, Base64 of it, an http(s) URL, or the path of a file, which is read again when it changes.',
  },
  { name: 'requestTimeout', kind: 'duration', default: '30s', description: 'Limit for fetching the set from its URL.' },
  {
    name: 'minRefreshInterval',
    kind: 'duration',
    default: '10m',
    description: 'The set is fetched again no sooner than this: for a key it does not hold at once, else behind the next use.',
  },
]

/** crypto.dapr.jwks: keys of a JSON Web Key Set, by their `kid`. */
export const driver: DriverModule<CryptoProvider> = {
  summary: 'Keys of a JSON Web Key Set, given, in a file or at a URL.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const timeout = Number(values.requestTimeout)
    const interval = Number(values.minRefreshInterval)
    const keys = createKeySet({
      location: String(values.jwks),
      // Values too small to mean anything are the defaults, as in Dapr.
      requestTimeout: timeout >= 1 ? timeout : 30_000,
      minRefreshInterval: interval >= 1000 ? interval : 600_000,
      onError: (error) => context.log.warn(`crypto component ${context.name}: ${error.message}; the keys known so far stay in use`),
    })
    return {
      init: (signal) => keys.load(signal),
      ...wrapsWith((name) => keys.find(name)),
      [Symbol.asyncDispose]: () => keys[Symbol.asyncDispose](),
    }
  },
}
