import type { SecretStore } from '../../blocks/secrets/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver: the type as resources name it, its versions, and its code, loaded when a resource asks for it. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<SecretStore>>
}

export const secretStoreDrivers: readonly DriverRow[] = [
  { type: 'secretstores.local.file', versions: ['v1'], load: async () => (await import('./local-file/driver.ts')).driver },
  { type: 'secretstores.hashicorp.vault', versions: ['v1'], load: async () => (await import('./vault/driver.ts')).driver },
  { type: 'secretstores.kubernetes', versions: ['v1'], load: async () => (await import('./kubernetes/driver.ts')).driver },
  { type: 'secretstores.aws.secretmanager', versions: ['v1'], load: async () => (await import('./aws/secretmanager.ts')).driver },
  { type: 'secretstores.aws.parameterstore', versions: ['v1'], load: async () => (await import('./aws/parameterstore.ts')).driver },
  { type: 'secretstores.azure.keyvault', versions: ['v1'], load: async () => (await import('./azure-keyvault/driver.ts')).driver },
  { type: 'secretstores.gcp.secretmanager', versions: ['v1'], load: async () => (await import('./gcp-secretmanager/driver.ts')).driver },
  { type: 'secretstores.local.env', versions: ['v1'], load: async () => (await import('./local-env/driver.ts')).driver },
]
