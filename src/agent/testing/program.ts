import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const outrider = join(import.meta.dirname, '..', '..', '..', 'bin', 'outrider')
const LOG_LIMIT = 1_000_000
/** Milliseconds after which what did not happen will not. */
const PATIENCE = 30_000

export interface AgentProgram extends AsyncDisposable {
  /** Of the agents' port, without a slash at the end. */
  url: string
  pid: number
  /** The last part of what it printed. */
  log(): string
  /** Resolves when `pattern` has been printed; rejects with the log when it is not. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** Ends it by this signal (default SIGTERM); gives its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** Runs `outrider agent -f FOLDER` on a free port, with a data folder of its own unless one is given, until all its roles are up. */
export async function startAgent(
  folder: string,
  options: { env?: Record<string, string>; dataDir?: string; args?: readonly string[]; ready?: boolean } = {},
): Promise<AgentProgram> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'outrider-agent-'))
  const flags = ['agent', '-f', folder, '--port=0', `--outrider-data-dir=${dataDir}`, ...(options.args ?? [])]
  const child = spawn(outrider, flags, { env: { ...process.env, ...options.env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit')
  const kill = () => void child.kill('SIGKILL')
  process.once('exit', kill)
  let log = ''
  const heard = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => {
      log = (log + part).slice(-LOG_LIMIT)
      for (const one of heard) one()
    })
  const printed = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const found = pattern.exec(log)
        if (found) finish(() => resolve(found))
      }
      const gone = () => finish(() => reject(new Error(`outrider agent ended before it printed ${pattern}:\n${log}`)))
      const late = setTimeout(() => finish(() => reject(new Error(`outrider agent did not print ${pattern}:\n${log}`))), PATIENCE)
      const finish = (settle: () => void) => {
        clearTimeout(late)
        heard.delete(look)
        child.off('close', gone)
        settle()
      }
      heard.add(look)
      child.once('close', gone)
      look()
    })
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    child.kill(signal)
    const [code] = (await ended) as [number | null]
    process.off('exit', kill)
    if (!options.dataDir) rmSync(dataDir, { recursive: true, force: true })
    return code
  }
  const program: AgentProgram = {
    url: '',
    pid: child.pid ?? 0,
    log: () => log,
    printed,
    stop,
    [Symbol.asyncDispose]: async () => void (await stop()),
  }
  try {
    const [, port] = await printed(/agents' port is [^\s"]*:(\d+)/)
    program.url = `http://127.0.0.1:${port}`
    if (options.ready !== false)
      for (const until = performance.now() + PATIENCE; ; ) {
        if ((await fetch(`${program.url}/ready`)).ok) break
        if (performance.now() > until) throw new Error(`outrider agent is not ready:\n${log}`)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
  } catch (error) {
    await stop('SIGKILL')
    throw error
  }
  return program
}
