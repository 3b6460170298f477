import type { Middleware } from '../../../blocks/middleware/driver.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError } from '../../metadata.ts'

/** A type that resources may name and that this sidecar cannot be: it refuses at start, rather than let requests pass unchecked. */
function unsupported(what: string, instead: string): DriverModule<Middleware> {
  return {
    summary: `Not supported: ${what}. ${instead}`,
    metadata: [],
    create(context) {
      throw new MetadataError(`not supported: component ${context.name} is of type ${context.type}, ${what}. ${instead}`)
    },
  }
}

export const wasm = unsupported('which runs http-wasm guests', 'Run the guest in a proxy that hosts them.')
