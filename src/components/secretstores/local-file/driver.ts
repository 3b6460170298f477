import { readFile, stat } from 'node:fs/promises'
import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { flatten, goText } from './flatten.ts'

const fields: readonly MetadataField[] = [
  { name: 'secretsFile', kind: 'string', required: true, description: 'Path of the JSON file with the secrets.' },
  {
    name: 'nestedSeparator',
    kind: 'string',
    default: ':',
    description: 'Stands between the names of nested members when they are flattened.',
  },
  {
    name: 'multiValued',
    kind: 'bool',
    default: 'false',
    description: 'Gives a top-level object as one secret of several values instead of several secrets.',
  },
]

/** secretstores.local.file: a JSON file, read again when it has changed. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from a JSON file; for development.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const path = String(values.secretsFile)
    const separator = String(values.nestedSeparator)
    const multiValued = values.multiValued === true
    let secrets = new Map<string, Record<string, string>>()
    let seen = ''
    let told = ''

    const stamp = async () => {
      const { mtimeMs, size, ino } = await stat(path)
      return `${mtimeMs} ${size} ${ino}`
    }
    const read = async (signal?: AbortSignal) => {
      let text: string
      try {
        seen = await stamp()
        text = await readFile(path, { encoding: 'utf8', ...(signal && { signal }) })
      } catch (error) {
        throw new Error(`secretsFile ${path} cannot be read: ${error instanceof Error ? error.message : error}`, { cause: error })
      }
      let content: unknown
      try {
        content = JSON.parse(text)
      } catch {
        // The parser's own message quotes the text around the mistake, which may be a secret.
        throw new Error(`secretsFile ${path} is not valid JSON`)
      }
      if (content === null || typeof content !== 'object' || Array.isArray(content))
        throw new Error(`secretsFile ${path} must hold a JSON object`)
      secrets = multiValued ? multi(content, separator) : flat(content, separator)
      told = ''
    }
    /** A file that is just being written, or gone for a moment, takes no secret away. */
    const refresh = async () => {
      if ((await stamp().catch(() => 'gone')) === seen) return
      await read().catch((error: Error) => {
        if (error.message !== told) context.log.warn(`${error.message}; the secrets that were read before it stay`)
        told = error.message
      })
    }

    return {
      features: multiValued ? ['MULTIPLE_KEY_VALUES_PER_SECRET'] : [],
      init: read,
      async get(name) {
        await refresh()
        const secret = secrets.get(name)
        if (!secret) throw new Error(`secret ${name} not found`)
        return { ...secret }
      },
      async bulkGet() {
        await refresh()
        return Object.fromEntries([...secrets].map(([name, secret]) => [name, { ...secret }]))
      },
      async [Symbol.asyncDispose]() {
        secrets = new Map()
      },
    }
  },
}

function flat(content: object, separator: string): Map<string, Record<string, string>> {
  return new Map([...flatten(content, separator)].map(([name, value]) => [name, { [name]: value }]))
}

function multi(content: object, separator: string): Map<string, Record<string, string>> {
  const secrets = new Map<string, Record<string, string>>()
  for (const [name, value] of Object.entries(content)) {
    if (typeof value === 'string') secrets.set(name, { [name]: goText(value) })
    else if (value !== null && typeof value === 'object' && !Array.isArray(value))
      secrets.set(name, Object.fromEntries(flatten(value, separator)))
  }
  return secrets
}
