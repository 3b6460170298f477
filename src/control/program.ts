import { messageOf } from '../errors.ts'
import { createLogger, type Logger, levelOf } from '../telemetry/log.ts'
import { VERSION } from '../version.ts'
import { type COMMON_FLAGS, ControlFlagError, type ControlFlags, controlUsage, type FlagValues, parseControlFlags } from './flags.ts'

/** What a program of the control plane runs with. */
export interface ProgramContext<F extends ControlFlags> {
  readonly flags: FlagValues<F>
  readonly env: NodeJS.ProcessEnv
  readonly log: Logger
  /** Aborted by SIGTERM and SIGINT. */
  readonly signal: AbortSignal
}

/**
 * Runs a program until it is told to stop; ends the process. Exit codes: 0 stopped, 1 it failed, 2 a flag is wrong.
 * @param appId how it is named in its identity and its log, e.g. `dapr-injector`.
 */
export function runProgram<F extends ControlFlags>(
  name: string,
  appId: string,
  table: F,
  run: (context: ProgramContext<F>) => Promise<void>,
): Promise<void> {
  return runParsed({ name, appId, table, parse: (argv) => parseControlFlags(table, argv), common: (flags) => flags as CommonFlags, run })
}

type CommonFlags = FlagValues<typeof COMMON_FLAGS>

export interface ParsedProgram<Flags> {
  name: string
  appId: string
  /** Of `--help`. */
  table: ControlFlags
  /** Throws ControlFlagError. */
  parse(argv: readonly string[]): Flags
  common(flags: Flags): CommonFlags
  run(context: { flags: Flags; env: NodeJS.ProcessEnv; log: Logger; signal: AbortSignal }): Promise<void>
}

/** The same for a program that reads its command line itself. */
export async function runParsed<Flags>({ name, appId, table, parse, common, run }: ParsedProgram<Flags>): Promise<void> {
  const argv = process.argv.slice(3)
  if (argv.some((argument) => /^--?(h|help)$/.test(argument))) return void console.log(controlUsage(name, table))
  if (argv.some((argument) => /^--?version$/.test(argument))) return void console.log(VERSION)
  let flags: Flags
  try {
    flags = parse(argv)
  } catch (error) {
    if (!(error instanceof ControlFlagError)) throw error
    console.error(`${name}: ${error.message}`)
    process.exit(2)
  }
  const texts = common(flags)
  const log = createLogger({
    level: levelOf(texts['log-level']) ?? 'info',
    json: texts['log-as-json'],
    appId,
    version: VERSION,
  })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort())
  let code = 0
  try {
    await run({ flags, env: process.env, log: log.scope(appId.replace('-', '.')), signal: stop.signal })
    log.info(`${name} has stopped`)
  } catch (error) {
    if (stop.signal.aborted) log.debug(messageOf(error))
    else {
      log.fatal(messageOf(error))
      code = 1
    }
  }
  process.stdout.write('', () => process.exit(code))
}
