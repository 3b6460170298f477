import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  {
    name: 'prefix',
    kind: 'string',
    default: '',
    description: "Put before a secret's name to make the variable's; bulk reads give only variables that have it, without it.",
  },
]

/** secretstores.local.env: the sidecar's environment; its own tokens and settings stay hidden. */
export const driver: DriverModule<SecretStore> = {
  summary: "Secrets from the sidecar's environment variables; for development.",
  metadata: fields,
  create(context) {
    const prefix = String(parseMetadata(fields, context.properties).prefix ?? '')
    return {
      features: [],
      async init() {},
      async get(name) {
        const variable = prefix + name
        if (isOwn(variable)) {
          context.log.warn(`secret store ${context.name}: the variable of secret ${name} is the sidecar's own and is not given out`)
          return { [name]: '' }
        }
        return { [name]: process.env[variable] ?? '' }
      },
      async bulkGet() {
        const secrets: Record<string, Record<string, string>> = {}
        for (const [variable, value] of Object.entries(process.env)) {
          if (value === undefined || !variable.startsWith(prefix) || isOwn(variable)) continue
          const name = variable.slice(prefix.length)
          secrets[name] = { [name]: value }
        }
        return secrets
      },
      async [Symbol.asyncDispose]() {},
    }
  },
}

function isOwn(variable: string): boolean {
  const upper = variable.toUpperCase()
  return upper === 'APP_API_TOKEN' || upper.startsWith('DAPR_')
}
