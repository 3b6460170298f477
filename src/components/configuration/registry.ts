import type { ConfigurationStore } from '../../blocks/configuration/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver: the type as resources name it, its versions, and its code, loaded when a resource asks for it. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<ConfigurationStore>>
}

const postgresql = async () => (await import('./postgresql/driver.ts')).driver

export const configurationDrivers: readonly DriverRow[] = [
  { type: 'configuration.redis', versions: ['v1'], load: async () => (await import('./redis/driver.ts')).driver },
  { type: 'configuration.postgresql', versions: ['v1'], load: postgresql },
  { type: 'configuration.postgres', versions: ['v1'], load: postgresql },
  { type: 'configuration.sqlite', versions: ['v1'], load: async () => (await import('./sqlite/driver.ts')).driver },
]
