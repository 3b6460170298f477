import { readFile, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type { CryptoProvider } from '../../../blocks/crypto/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { type LoadedKey, parseKey } from '../key.ts'
import { wrapsWith } from '../wrap.ts'

const fields: readonly MetadataField[] = [
  { name: 'path', kind: 'string', required: true, description: "Folder of the key files; a key's name is its file's." },
]

/** Larger files are no keys. */
const SIZE_LIMIT = 1024 * 1024

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
      ...wrapsWith((name) => loadKeyFile(folder, name)),
      async [Symbol.asyncDispose]() {},
    }
  },
}

/** Reads the key file of that name in the folder. Errors never show the file's content, nor where the folder is. */
async function loadKeyFile(folder: string, name: string): Promise<LoadedKey> {
  if (name.includes('..')) throw new Error("invalid key path: cannot contain '..'")
  if (name === '' || name.includes('\0')) throw new Error('invalid key path')
  const path = join(folder, name)
  let content: Buffer
  try {
    const info = await stat(path)
    if (!info.isFile() || info.size > SIZE_LIMIT) throw new Error('not a file of a key')
    content = await readFile(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    throw new Error(
      `failed to load key '${name}': ${code === 'ENOENT' ? 'no such file or directory' : (code ?? (error as Error).message)}`,
      {
        cause: error,
      },
    )
  }
  try {
    return parseKey(content, extname(name).toLowerCase())
  } catch (error) {
    throw new Error(`failed to parse key from secret: '${name}' cannot be read as ${extname(name) || 'a'} key`, { cause: error })
  }
}
