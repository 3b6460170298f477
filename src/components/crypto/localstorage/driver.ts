import { stat } from 'node:fs/promises'
import type { CryptoProvider } from '../../../blocks/crypto/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { loadKey } from './key-file.ts'
import { unwrap, wrap } from './wrap.ts'

const fields: readonly MetadataField[] = [
  { name: 'path', kind: 'string', required: true, description: "Folder of the key files; a key's name is its file's." },
]

/** crypto.dapr.localstorage: keys in files (JWK, PEM or symmetric bytes), read at each use. */
export const driver: DriverModule<CryptoProvider> = {
  summary: 'Keys in a folder of files.',
  metadata: fields,
  create(context) {
    const folder = String(parseMetadata(fields, context.properties).path)
    return {
      async init() {
        const info = await stat(folder).catch(() => undefined)
        if (!info?.isDirectory()) throw new Error(`metadata field path: ${folder} is not a folder`)
      },
      async wrapKey(plaintext, algorithm, keyName) {
        return wrap(await loadKey(folder, keyName), algorithm, plaintext)
      },
      async unwrapKey(wrapped, algorithm, keyName) {
        return unwrap(await loadKey(folder, keyName), algorithm, wrapped)
      },
      async [Symbol.asyncDispose]() {},
    }
  },
}
