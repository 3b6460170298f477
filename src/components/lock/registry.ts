import type { LockStore } from '../../blocks/lock/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver: the type as resources name it, its versions, and its code, loaded when a resource asks for it. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<LockStore>>
}

export const lockDrivers: readonly DriverRow[] = [
  { type: 'lock.redis', versions: ['v1'], load: async () => (await import('./redis/driver.ts')).driver },
  { type: 'lock.sqlite', versions: ['v1'], load: async () => (await import('./sqlite/driver.ts')).driver },
]
