import { createWriteStream, mkdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { messageOf } from '../errors.ts'
import { Instances } from './instances.ts'
import { type Ending, eachLine, type Managed, signalTo } from './process.ts'
import {
  APP_GRACE,
  addressesOf,
  failureOf,
  instanceOf,
  type Plan,
  SIDECAR_GRACE,
  startApp,
  startSidecar,
  waitForSidecar,
  writeMetadata,
} from './session.ts'
import { choosePorts } from './settings.ts'
import { CommandError, coloursWanted, createReporter, type Reporter, type Writer } from './status.ts'
import { listenForStop, type StopSignal } from './stop-signal.ts'

export type Destination = 'file' | 'console' | 'fileAndConsole'

/** A plan of a run file, with where its output goes. */
export interface ManyPlan extends Plan {
  appLogDestination: Destination
  daprdLogDestination: Destination
  /** Folder of the log files. */
  logDirectory: string
}

export interface ManyOptions {
  reporter: Reporter
  /** Whether one process that ends by itself ends them all; a run file's apps are left alone. Default false. */
  together?: boolean
  /** Called when everything has been started; `signal` fires when the run ends before it has done its work. */
  onReady?: (signal: AbortSignal) => Promise<void>
}

interface Started {
  plan: ManyPlan
  sidecar: Managed
  app?: Managed
  toSidecarLog: Reporter
  toAppLog: Reporter
  close(): Promise<void>
}

/** Runs several apps with their sidecars until the tool is asked to stop. Resolves with the exit code. */
export async function runMany(plans: readonly ManyPlan[], options: ManyOptions): Promise<number> {
  const { reporter } = options
  const stop = listenForStop()
  const started: Started[] = []
  const leftEarly = Promise.withResolvers<string>()
  stop.onHurry(() => {
    for (const { sidecar, app } of started) for (const one of [sidecar, app]) if (one?.pid) signalTo(-one.pid, 'SIGKILL')
  })
  let code = 0
  try {
    for (const plan of plans) {
      if (stop.signal.aborted) break
      await startOne(plan, plans, started, reporter, stop, (text) => {
        leftEarly.resolve(text)
      })
    }
    const over = new AbortController()
    const ready = stop.signal.aborted ? undefined : options.onReady?.(AbortSignal.any([over.signal, stop.signal]))
    if (options.together) {
      // A failure of onReady is one of the run.
      const why = await Promise.race([stop.wished, leftEarly.promise, ...(ready ? [ready.then(() => leftEarly.promise)] : [])])
      over.abort()
      if (why !== undefined) {
        reporter.failure(why)
        code = 1
      }
    } else {
      await ready
      await stop.wished
    }
  } catch (error) {
    reporter.failure(messageOf(error))
    if (error instanceof CommandError && error.hint) reporter.info(error.hint)
    code = 1
  }
  if (stop.signal.aborted) {
    reporter.plain('')
    reporter.info('Received signal to stop Dapr and app processes. Shutting down Dapr and app processes.')
  }
  // Sidecars of a run call each other: all apps drain at the same time.
  await Promise.all(started.map((one) => endOne(one)))
  stop.release()
  return code
}

async function startOne(
  plan: ManyPlan,
  plans: readonly ManyPlan[],
  started: Started[],
  reporter: Reporter,
  stop: StopSignal,
  left: (text: string) => void,
): Promise<void> {
  const { settings } = plan
  const id = settings.appId
  reporter.info(`Validating config and starting app "${id}"`)
  try {
    await choosePorts(
      settings,
      plans.map((other) => other.settings),
    )
  } catch (error) {
    const hint = error instanceof CommandError ? error.hint : undefined
    throw new CommandError(`Error validating run config for app "${id}" present in ${plan.runTemplatePath}: ${messageOf(error)}`, hint)
  }
  if (plan.command.length === 0) reporter.warning(`No application command found for app "${id}" present in ${plan.runTemplatePath}`)

  const appLog = openLog(plan.appLogDestination, plan.appLogPath)
  const sidecarLog = openLog(plan.daprdLogDestination, plan.daprdLogPath)
  const toSidecarLog = createReporter({ out: sidecarLog, err: sidecarLog, symbols: plan.daprdLogDestination === 'console' })
  const toAppLog = createReporter({ out: appLog, err: appLog, symbols: plan.appLogDestination === 'console' })
  toSidecarLog.info(`Starting Dapr with id ${id}. ${addressesOf(settings)}`)
  // Apps of one run are on one machine: its network need not be known, nor even there.
  const sidecar = startSidecar(plan, { ...process.env, DAPR_HOST_IP: process.env.DAPR_HOST_IP || '127.0.0.1' }, ['ignore', 'pipe', 'pipe'])
  follow(sidecar, (line) => sidecarLog.write(`${line}\n`))
  const one: Started = {
    plan,
    sidecar,
    toSidecarLog,
    toAppLog,
    close: async () => void (await Promise.all([appLog.close(), sidecarLog.close()])),
  }
  started.push(one)
  const instances = new Instances(settings.dataDir)
  instances.record(instanceOf(plan, sidecar, undefined))
  void sidecar.ended.then((ending) => {
    if (stop.signal.aborted) return
    const failure = failureOf(ending)
    if (failure) toSidecarLog.failure(`The daprd process exited with error code: ${failure}`)
    else toSidecarLog.success('Exited Dapr successfully')
    const text = `The sidecar of app "${id}" has ended (${failure ?? 'exit status 0'}); its log: ${plan.daprdLogPath || 'above'}`
    // Dapr's tool leaves this to the log file, and the reader to wonder.
    if (failure) reporter.warning(text)
    left(text)
  })

  await waitForSidecar(plan, sidecar, settings.appPort <= 0 ? toSidecarLog : undefined, stop.signal)
  if (plan.command.length > 0 && !stop.signal.aborted) {
    one.app = startApp(plan, ['ignore', 'pipe', 'pipe'])
    const prefix = `== APP - ${id} == `
    follow(one.app, (line) => appLog.write(`${prefix}${line}\n`))
    instances.record(instanceOf(plan, sidecar, one.app))
    void one.app.ended.then((ending) => {
      if (stop.signal.aborted) return
      const failure = failureOf(ending)
      if (failure) toAppLog.failure(`The App process exited with error code: ${failure}`)
      else toAppLog.success('Exited App successfully')
      left(`App "${id}" has ended (${failure ?? 'exit status 0'})`)
    })
  } else if (plan.command.length === 0) toSidecarLog.info('No application command present')
  await Promise.race([writeMetadata(plan, sidecar, one.app, toSidecarLog, stop.signal), one.app?.ended ?? stop.wished])
  if (stop.signal.aborted || sidecar.ending()) return
  toSidecarLog.success("You're up and running! Dapr logs will appear here.\n")
  reporter.info(`Started Dapr with app id "${id}". ${addressesOf(settings)}`)
  reporter.info(`Writing log files to directory : ${plan.logDirectory}`)
}

async function endOne(one: Started): Promise<void> {
  const { sidecar, app, toSidecarLog, toAppLog } = one
  const before = { sidecar: failure(sidecar.ending()), app: failure(app?.ending()) }
  toSidecarLog.info('\ntermination signal received: shutting down')
  if (app) toAppLog.info('\ntermination signal received: shutting down')
  await sidecar.stop(SIDECAR_GRACE)
  if (before.sidecar) toSidecarLog.failure(`Error exiting Dapr: ${before.sidecar}`)
  else toSidecarLog.success('Exited Dapr successfully')
  if (app) {
    await app.stop(APP_GRACE)
    if (before.app) toAppLog.failure(`Error exiting App: ${before.app}`)
    else {
      toSidecarLog.success('Exited App successfully')
      // Dapr's tool says it where the sidecar logs, which is a file unless told otherwise.
      if (one.plan.daprdLogDestination === 'file') toAppLog.success('Exited App successfully')
    }
  }
  new Instances(one.plan.settings.dataDir).forget(instanceOf(one.plan, sidecar, app))
  await one.close()
}

function failure(ending: Ending | undefined): string | undefined {
  return ending && failureOf(ending)
}

function follow(process_: Managed, onLine: (line: string) => void): void {
  for (const stream of [process_.child.stdout, process_.child.stderr]) if (stream) eachLine(stream, onLine)
}

/** A writer to the console, a file, or both. The file gets no colour codes; the console those that it wants. */
function openLog(destination: Destination, path: string): Writer & { close(): Promise<void> } {
  const file = destination === 'console' || path === '' ? undefined : openFile(path)
  const colours = coloursWanted()
  return {
    write: (text) => {
      file?.write(stripVTControlCharacters(text))
      if (destination === 'file') return
      if (colours && text.startsWith('== APP - ')) {
        const end = text.indexOf(' == ') + 4
        process.stdout.write(`\u001B[94;1m${text.slice(0, end)}\u001B[0;22m${text.slice(end)}`)
      } else process.stdout.write(colours || destination === 'console' ? text : stripVTControlCharacters(text))
    },
    close: () => (file ? new Promise((done) => file.end(() => done())) : Promise.resolve()),
  }
}

function openFile(path: string) {
  mkdirSync(dirname(path), { recursive: true })
  const file = createWriteStream(path, { flags: 'a' })
  let told = false
  file.on('error', (error) => {
    // A full disk must not end the apps; they are told about once.
    if (!told) process.stderr.write(`❌  Log file ${basename(path)} cannot be written: ${error.message}\n`)
    told = true
  })
  return file
}
