import { readFileSync } from 'node:fs'
import { messageOf } from '../errors.ts'
import type { Flag, Parsed } from './args.ts'
import { type Instance, Instances } from './instances.ts'
import { dataDirectory } from './paths.ts'
import { CommandError } from './status.ts'

export const PAYLOAD_FLAGS: readonly Flag[] = [
  { name: 'data', short: 'd', type: 'string', help: 'What to send' },
  { name: 'data-file', short: 'f', type: 'string', help: 'File with what to send; -: standard input' },
]

/** The bytes of --data or --data-file; undefined when neither is given. Throws CommandError. */
export function payloadOf(parsed: Parsed, command: string): string | Buffer | undefined {
  const both = parsed.given.includes('data') && parsed.given.includes('data-file')
  if (both) throw new CommandError(`Only one of --data and --data-file allowed in the same ${command} command`)
  if (parsed.given.includes('data')) return parsed.text('data')
  const file = parsed.text('data-file')
  if (file === '') return undefined
  try {
    return readFileSync(file === '-' ? 0 : file)
  } catch (error) {
    throw new CommandError(`Error reading payload from '${file}'. Error: ${messageOf(error)}`)
  }
}

/** The running sidecar of an app, or the only one when `appId` is empty. Throws `missing` with a hint. */
export function sidecarOf(parsed: Parsed, appId: string, missing: string): Instance {
  const dataDir = dataDirectory(parsed.text('outrider-data-dir'))
  const instances = new Instances(dataDir)
  const found = instances.find(appId)
  if (found) return found
  const ids = instances.running().map((instance) => instance.appId)
  throw new CommandError(
    missing,
    ids.length > 0 ? `running now: ${ids.join(', ')}` : `nothing runs with data folder ${dataDir}; start an app with outrider run`,
  )
}
