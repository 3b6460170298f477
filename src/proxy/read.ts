import { readFileSync } from 'node:fs'
import { messageOf } from '../errors.ts'
import { checkProxy, type ProxySpec } from '../resources/proxy-schema.ts'
import { type ReadConfig, readBootstrap } from './envoy/bootstrap.ts'
import { compileProxy } from './own/compile.ts'

/** What the spec of a Proxy describes. Throws with every problem, by file and line. */
export function readProxy(spec: ProxySpec): ReadConfig {
  const { envoy, lenient = false } = spec
  if (envoy === undefined) {
    const wrong = checkProxy(spec as Record<string, unknown>)
    if (wrong) throw new Error(wrong.message)
    return { model: compileProxy(spec), remarks: [] }
  }
  let text: string
  try {
    text = readFileSync(envoy, 'utf8')
  } catch (error) {
    throw new Error(`${envoy} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  return readBootstrap(text, envoy, lenient)
}
