import type { StdioOptions } from 'node:child_process'
import { accessSync, constants, mkdirSync, statSync } from 'node:fs'
import { delimiter, join, resolve } from 'node:path'
import { messageOf } from '../errors.ts'
import type { Instance } from './instances.ts'
import { sidecarProgram } from './paths.ts'
import { waitUntilAccepts } from './ports.ts'
import { type Ending, launch, type Managed } from './process.ts'
import { appEnvironment, type Settings, sidecarArguments, socketPath } from './settings.ts'
import { callSidecar } from './sidecar-client.ts'
import { CommandError, type Reporter } from './status.ts'

/** One app and its sidecar, ready to be started. */
export interface Plan {
  settings: Settings
  /** Program and arguments; empty: a sidecar without app. */
  command: string[]
  cwd: string
  /** Beats the generated variables and the tool's own environment. */
  env: Record<string, string>
  runTemplatePath: string
  runTemplateName: string
  appLogPath: string
  daprdLogPath: string
}

/** A sidecar gets its own 5 s to drain and some to close; an app the 5 s of Dapr's tool. */
export const SIDECAR_GRACE = 8000
export const APP_GRACE = 5000

/** Starts the sidecar of a plan whose ports are chosen. Throws CommandError when its data folder cannot be there. */
export function startSidecar(plan: Plan, env: NodeJS.ProcessEnv, stdio: StdioOptions): Managed {
  try {
    mkdirSync(plan.settings.dataDir, { recursive: true })
  } catch (error) {
    throw new CommandError(
      `Cannot make the data folder ${plan.settings.dataDir}: ${messageOf(error)}`,
      'choose another one with --outrider-data-dir or OUTRIDER_DATA_DIR',
    )
  }
  return launch(sidecarProgram(), sidecarArguments(plan.settings), { cwd: plan.cwd, env, stdio })
}

/** Starts the app of a plan. Throws CommandError when its program is nowhere in PATH. */
export function startApp(plan: Plan, stdio: StdioOptions): Managed {
  const env = { ...process.env, ...appEnvironment(plan.settings), ...plan.env }
  const [program = '', ...args] = plan.command
  return launch(findProgram(program, env.PATH ?? '', plan.cwd), args, { cwd: plan.cwd, env, stdio })
}

/** The file that a command's first word means. Throws CommandError when there is none. */
export function findProgram(word: string, path: string, cwd: string): string {
  const candidates = word.includes('/') ? [resolve(cwd, word)] : path.split(delimiter).map((folder) => join(folder || '.', word))
  const found = candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return statSync(file).isFile()
    } catch {
      return false
    }
  })
  if (found === undefined || word === '') {
    throw new CommandError(
      `Failed to find command ${word}: exec: "${word}": executable file not found in $PATH`,
      'install the program, or give its path after --',
    )
  }
  return found
}

/**
 * Waits until the sidecar's HTTP and gRPC listeners accept; ends early when it exits or `stop` fires. An app that is known
 * by its port is waited for by the sidecar, and Dapr's tool starts both at once: then nothing is printed here, and the
 * app still finds its sidecar there when it calls at once.
 */
export async function waitForSidecar(plan: Plan, sidecar: Managed, reporter: Reporter | undefined, stop: AbortSignal): Promise<boolean> {
  const signal = endOf(sidecar, stop)
  let up = true
  for (const kind of ['http', 'grpc'] as const) {
    const socket = socketPath(plan.settings, kind)
    const port = kind === 'http' ? plan.settings.daprHttpPort : plan.settings.daprGrpcPort
    const where = `${kind === 'http' ? 'HTTP' : 'GRPC'} ${socket ? `socket ${socket}` : `port ${port}`}`
    reporter?.info(`Checking if Dapr sidecar is listening on ${where}`)
    if (await waitUntilAccepts(socket ? { path: socket } : { port }, reporter ? 60_000 : 10_000, signal)) continue
    up = false
    if (signal.aborted) return false
    reporter?.warning(`Dapr sidecar is not listening on ${where.replace(/ (\S+)$/, ': $1')}`)
  }
  if (up) reporter?.info('Dapr sidecar is up and running.')
  else reporter?.warning('Dapr sidecar might not be responding.')
  return up
}

/** Tells the sidecar who runs it and what its app is; the values show in its metadata. Failures are warnings. */
export async function writeMetadata(
  plan: Plan,
  sidecar: Managed,
  app: Managed | undefined,
  reporter: Reporter,
  stop: AbortSignal,
): Promise<boolean> {
  const { settings } = plan
  const address = { httpPort: settings.daprHttpPort, socket: socketPath(settings, 'http') }
  const signal = endOf(sidecar, stop)
  const entries: [key: string, value: string, shown?: string][] = [['cliPID', String(process.pid)]]
  if (plan.runTemplatePath !== '') {
    entries.push(['runTemplatePath', plan.runTemplatePath], ['runTemplateName', plan.runTemplateName])
    if (plan.appLogPath !== '') entries.push(['appLogPath', plan.appLogPath])
    if (plan.daprdLogPath !== '') entries.push(['daprdLogPath', plan.daprdLogPath])
  }
  if (app) entries.push(['appPID', String(app.pid), 'appPID'], ['appCommand', plan.command.join(' '), 'app command'])
  const listening = await waitUntilAccepts(address.socket ? { path: address.socket } : { port: address.httpPort }, 15_000, signal)
  if (signal.aborted) return false
  let written = true
  for (const [key, value, shown] of entries) {
    if (shown) reporter.info(`Updating metadata for ${shown}: ${value}`)
    try {
      if (!listening) throw new Error(`nothing listens on port ${address.httpPort} after 15 s`)
      const reply = await callSidecar(address, 'PUT', `/v1.0/metadata/${key}`, { body: value, timeout: 5000 })
      if (reply.status >= 400) throw new Error(`the sidecar answered ${reply.status} ${reply.statusText}`)
    } catch (error) {
      if (signal.aborted) return false
      reporter.warning(`Could not update sidecar metadata for ${key}: ${messageOf(error)}`)
      written = false
      if (!listening) return false
    }
  }
  return written
}

/** The registry's entry for a started plan. */
export function instanceOf(plan: Plan, sidecar: Managed, app: Managed | undefined): Instance {
  return {
    appId: plan.settings.appId,
    httpPort: plan.settings.daprHttpPort,
    grpcPort: plan.settings.daprGrpcPort,
    appPort: plan.settings.appPort,
    metricsEnabled: true,
    command: plan.command.join(' '),
    created: new Date().toISOString(),
    daprdPid: sidecar.pid,
    cliPid: process.pid,
    appPid: app?.pid ?? 0,
    socket: socketPath(plan.settings, 'http'),
    runTemplatePath: plan.runTemplatePath,
    runTemplateName: plan.runTemplateName,
    appLogPath: plan.appLogPath,
    daprdLogPath: plan.daprdLogPath,
  }
}

/** `HTTP Port: 3500. gRPC Port: 50001`, or the sockets. */
export function addressesOf(settings: Settings): string {
  const http = socketPath(settings, 'http')
  if (http) return `HTTP Socket: ${http}. gRPC Socket: ${socketPath(settings, 'grpc')}.`
  return `HTTP Port: ${settings.daprHttpPort}. gRPC Port: ${settings.daprGrpcPort}`
}

/** How a process failed, in the words of Dapr's tool; undefined when it ended well. */
export function failureOf(ending: Ending): string | undefined {
  if (ending.error) return messageOf(ending.error)
  if (ending.signal) return `signal: ${SIGNAL_WORDS[ending.signal] ?? ending.signal}`
  return ending.code === 0 ? undefined : `exit status ${ending.code}`
}

const SIGNAL_WORDS: Partial<Record<NodeJS.Signals, string>> = {
  SIGKILL: 'killed',
  SIGTERM: 'terminated',
  SIGINT: 'interrupt',
  SIGSEGV: 'segmentation fault',
  SIGABRT: 'aborted',
  SIGHUP: 'hangup',
}

function endOf(sidecar: Managed, stop: AbortSignal): AbortSignal {
  const gone = new AbortController()
  void sidecar.ended.then(() => gone.abort())
  return AbortSignal.any([gone.signal, stop])
}
