import type { Middleware } from '../../blocks/middleware/driver.ts'
import type { DriverModule } from '../component.ts'

/** One driver: the type as resources name it, its versions, and its code, loaded when a resource asks for it. */
export interface DriverRow {
  type: string
  versions: readonly string[]
  load(): Promise<DriverModule<Middleware>>
}

const row = (name: string, load: DriverRow['load']): DriverRow => ({ type: `middleware.http.${name}`, versions: ['v1'], load })

export const middlewareDrivers: readonly DriverRow[] = [
  row('bearer', async () => (await import('./bearer/driver.ts')).driver),
  row('oauth2', async () => (await import('./oauth2/driver.ts')).driver),
  row('oauth2clientcredentials', async () => (await import('./oauth2clientcredentials/driver.ts')).driver),
  row('opa', async () => (await import('./opa/driver.ts')).driver),
  row('ratelimit', async () => (await import('./ratelimit/driver.ts')).driver),
  row('routeralias', async () => (await import('./routeralias/driver.ts')).driver),
  row('routerchecker', async () => (await import('./routerchecker/driver.ts')).driver),
  row('sentinel', async () => (await import('./sentinel/driver.ts')).driver),
  row('uppercase', async () => (await import('./uppercase/driver.ts')).driver),
  row('wasm', async () => (await import('./unsupported/driver.ts')).wasm),
]
