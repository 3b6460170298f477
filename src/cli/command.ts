import type { Flag, Parsed } from './args.ts'
import type { Reporter } from './status.ts'

/** What every command gets. */
export interface CommandContext {
  parsed: Parsed
  reporter: Reporter
}

/** One command of `outrider`: how it is called, what it teaches, what it does. */
export interface Command {
  /** The line after `Usage:`, without `outrider`. */
  usage: string
  summary: string
  /** Lines of examples as one would type them; `#` lines explain. */
  examples: string[]
  flags: readonly Flag[]
  /** Resolves with the exit code. Throws UsageError or CommandError. */
  run(context: CommandContext): Promise<number>
}

export const DATA_DIR_FLAG: Flag = {
  name: 'outrider-data-dir',
  type: 'string',
  help: 'Folder of the embedded components and of the list of running sidecars; default $OUTRIDER_DATA_DIR, then ~/.outrider',
}
export const JSON_FLAG: Flag = { name: 'json', type: 'boolean', help: 'Print JSON for scripts' }
export const APP_ID_FLAG: Flag = { name: 'app-id', short: 'a', type: 'string', help: "The app's id; may be left out when one sidecar runs" }
