import type { CryptoProvider } from '../../blocks/crypto/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver: the type as resources name it, its versions, and its code, loaded when a resource asks for it. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<CryptoProvider>>
}

export const cryptoDrivers: readonly DriverRow[] = [
  { type: 'crypto.azure.keyvault', versions: ['v1'], load: async () => (await import('./azure-keyvault/driver.ts')).driver },
  { type: 'crypto.dapr.jwks', versions: ['v1'], load: async () => (await import('./jwks/driver.ts')).driver },
  { type: 'crypto.dapr.kubernetes.secrets', versions: ['v1'], load: async () => (await import('./kubernetes/driver.ts')).driver },
  { type: 'crypto.dapr.localstorage', versions: ['v1'], load: async () => (await import('./localstorage/driver.ts')).driver },
]
