import type { AgentOptions } from '../runtime/agent.ts'
import { VERSION } from '../version.ts'
import { CommandError } from './status.ts'

export interface RunRolesOptions extends Omit<AgentOptions, 'log' | 'signal' | 'env'> {
  /** As `--log-level` has it. */
  level: string
  json: boolean
}

/** Runs roles in this process until SIGINT or SIGTERM (a second one ends it at once); gives the exit code. SIGHUP reads the resources again. */
export async function runRoles({ level, json, ...options }: RunRolesOptions): Promise<number> {
  const { createLogger, levelOf } = await import('../telemetry/log.ts')
  const { runAgent } = await import('../runtime/agent.ts')
  const known = levelOf(level)
  if (!known) throw new CommandError(`log level ${level} is not known`, 'use debug, info, warn, error or fatal')
  const log = createLogger({
    level: known,
    json,
    appId: options.appId,
    version: VERSION,
    write: (line) => void process.stdout.write(`${line}\n`),
  })
  const stop = new AbortController()
  const onSignal = () => (stop.signal.aborted ? process.exit(1) : stop.abort())
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal)
  try {
    await runAgent({ ...options, log, env: process.env, signal: stop.signal })
    return 0
  } catch {
    // Already in the log.
    return 1
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}
