import { readFile } from 'node:fs/promises'
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

/** secretstores.local.file: a JSON file, read once at the start. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from a JSON file; for development.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    const path = String(values.secretsFile)
    const separator = String(values.nestedSeparator)
    const multiValued = values.multiValued === true
    let secrets = new Map<string, Record<string, string>>()

    return {
      features: multiValued ? ['MULTIPLE_KEY_VALUES_PER_SECRET'] : [],
      async init(signal) {
        let text: string
        try {
          text = await readFile(path, { encoding: 'utf8', signal })
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
      },
      async get(name) {
        const secret = secrets.get(name)
        if (!secret) throw new Error(`secret ${name} not found`)
        return { ...secret }
      },
      async bulkGet() {
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
