import { readFileSync } from 'node:fs'
import { messageOf } from '../errors.ts'
import type { ProxySpec } from '../resources/proxy-schema.ts'
import { type ReadConfig, readBootstrap } from './envoy/bootstrap.ts'

/** What the spec of a Proxy describes. Throws with every problem, by file and line. */
export function readProxy({ envoy = '', lenient = false }: ProxySpec): ReadConfig {
  let text: string
  try {
    text = readFileSync(envoy, 'utf8')
  } catch (error) {
    throw new Error(`${envoy} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  return readBootstrap(text, envoy, lenient)
}
