import { type ControlFlags, parseControlFlags } from '../../src/control/flags.ts'
import type { ProgramContext } from '../../src/control/program.ts'
import type { Logger } from '../../src/telemetry/log.ts'

export interface RunningProgram extends AsyncDisposable {
  /** Of its log line `… on port N`. */
  readonly port: number
  readonly lines: string[]
  /** Resolves with the next log line that matches. */
  next(pattern: RegExp): Promise<string>
  /** Rejects with what ended it early. */
  readonly running: Promise<void>
}

const COMMON = ['--port=0', '--healthz-port=0', '--enable-metrics=false', '--listen-address=127.0.0.1']

/** A program of the control plane in this process, once it listens, until disposed. */
export async function startProgram<F extends ControlFlags>(
  run: (context: ProgramContext<F>) => Promise<void>,
  table: F,
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<RunningProgram> {
  const stop = new AbortController()
  const lines: string[] = []
  const waiting = new Set<(line: string) => void>()
  const listening = Promise.withResolvers<number>()
  const write = (line: string) => {
    lines.push(line)
    const [, port] = /on port (\d+)/.exec(line) ?? []
    if (port !== undefined) listening.resolve(Number(port))
    for (const tell of waiting) tell(line)
  }
  const log: Logger = { debug: write, info: write, warn: write, error: write, fatal: write, scope: () => log, enabled: () => true }
  const running = run({ flags: parseControlFlags(table, [...COMMON, ...argv]), env, log, signal: stop.signal })
  const port = await Promise.race([listening.promise, running.then(() => Promise.reject(new Error(`it ended:\n${lines.join('\n')}`)))])
  return {
    port,
    lines,
    running,
    next: (pattern) =>
      new Promise((resolve) => {
        const tell = (line: string) => {
          if (!pattern.test(line)) return
          waiting.delete(tell)
          resolve(line)
        }
        waiting.add(tell)
      }),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}
