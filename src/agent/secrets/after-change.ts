import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { messageOf } from '../../errors.ts'
import { milliseconds } from '../../resources/agent-schema.ts'
import type { AfterChangeSpec } from '../../resources/secret-files-schema.ts'
import type { RoleContext } from '../role.ts'
import type { Child } from './child.ts'

/** Tells who uses a file that it has changed. What it does is in the log; what a command prints is not: it may hold what the file holds. */
export async function afterChange(
  spec: AfterChangeSpec,
  path: string,
  { log, env, signal: stop }: RoleContext,
  child: Child | undefined,
): Promise<void> {
  const { command, pidFile } = spec
  const signal = (spec.signal ?? (pidFile === undefined ? undefined : 'SIGHUP')) as NodeJS.Signals | undefined
  try {
    if (signal && pidFile !== undefined) {
      const pid = Number(readFileSync(pidFile, 'utf8').trim())
      if (!Number.isSafeInteger(pid) || pid <= 1) throw new Error(`${pidFile} holds no number of a process`)
      process.kill(pid, signal)
    } else if (signal) child?.signal(signal)
    if (signal) log.info(`${path} changed: ${signal} was sent`)
    if (command) {
      const code = await run(command, milliseconds(spec.timeout, '30s'), env, stop)
      if (code === 0) log.info(`${path} changed: ${command[0]} was run`)
      else log.error(`${path} changed, but ${command[0]} ended with ${code}`)
    }
  } catch (error) {
    log.error(`${path} changed, but who uses it could not be told: ${messageOf(error)}`)
  }
}

/** Gives the exit code, or the signal that ended it. */
function run(
  [program = '', ...args]: readonly string[],
  timeout: number,
  env: NodeJS.ProcessEnv,
  stop: AbortSignal,
): Promise<number | string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: 'ignore', env: withoutOurs(env) })
    const kill = () => void child.kill('SIGKILL')
    const late = setTimeout(kill, timeout)
    stop.addEventListener('abort', kill, { once: true })
    const over = () => {
      clearTimeout(late)
      stop.removeEventListener('abort', kill)
    }
    child.once('error', (error) => {
      over()
      reject(error)
    })
    child.once('exit', (code, signal) => {
      over()
      resolve(code ?? signal ?? 'an unknown end')
    })
  })
}

/** The environment without what lets one in here. */
export function withoutOurs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(OUTRIDER|DAPR|APP_API)_.*TOKEN|^APP_API_TOKEN$/.test(name)))
}
