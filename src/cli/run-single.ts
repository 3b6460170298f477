import { rmSync } from 'node:fs'
import { Instances } from './instances.ts'
import { accepts } from './ports.ts'
import { type Ending, type Managed, signalTo } from './process.ts'
import {
  APP_GRACE,
  addressesOf,
  failureOf,
  findProgram,
  instanceOf,
  type Plan,
  SIDECAR_GRACE,
  startApp,
  startSidecar,
  waitForSidecar,
  writeMetadata,
} from './session.ts'
import { socketPath } from './settings.ts'
import type { Reporter } from './status.ts'
import { listenForStop } from './stop-signal.ts'

/**
 * Runs one app beside its sidecar until either ends or the tool is asked to stop; then ends both, the sidecar first.
 * The app has the tool's own output, without prefix. Resolves with the exit code.
 */
export async function runSingle(plan: Plan, reporter: Reporter): Promise<number> {
  const hasApp = plan.command.length > 0
  if (hasApp) findProgram(plan.command[0] as string, plan.env.PATH ?? process.env.PATH ?? '', plan.cwd)
  else reporter.plain('WARNING: no application command found.')
  if (hasApp && plan.settings.appPort > 0 && (await accepts({ port: plan.settings.appPort }))) {
    reporter.warning(
      `Port ${plan.settings.appPort} (--app-port) already answers: if that is another program, end it or choose another port`,
    )
  }

  const stop = listenForStop()
  const instances = new Instances(plan.settings.dataDir)
  reporter.info(`Starting Dapr with id ${plan.settings.appId}. ${addressesOf(plan.settings)}`)
  const sidecar = startSidecar(plan, process.env, ['ignore', 'inherit', 'inherit'])
  let app: Managed | undefined
  stop.onHurry(() => {
    for (const one of [sidecar, app]) if (one?.pid) signalTo(-one.pid, 'SIGKILL')
  })
  instances.record(instanceOf(plan, sidecar, undefined))
  try {
    await waitForSidecar(plan, sidecar, plan.settings.appPort <= 0 ? reporter : undefined, stop.signal)
    if (hasApp && !stop.signal.aborted && !sidecar.ending()) {
      // A process group in the background may not read the terminal: the app would be stopped by the kernel.
      app = startApp(plan, [process.stdin.isTTY ? 'ignore' : 'inherit', 'inherit', 'inherit'])
      if (app.pid) instances.record(instanceOf(plan, sidecar, app))
    }
    if (!stop.signal.aborted && !sidecar.ending() && !app?.ending()) {
      await Promise.race([writeMetadata(plan, sidecar, app, reporter, stop.signal), app?.ended ?? stop.wished])
    }
    if (!stop.signal.aborted && !sidecar.ending()) {
      reporter.success(`You're up and running! ${hasApp ? 'Both Dapr and your app logs' : 'Dapr logs'} will appear here.\n`)
      if (!hasApp) for (const line of nextSteps(plan)) reporter.plain(line)
    }
    await Promise.race([stop.wished, sidecar.ended, ...(app ? [app.ended] : [])])
    return await end(sidecar, app, reporter, stop.signal.aborted)
  } finally {
    await Promise.all([sidecar.stop(0), app?.stop(0)])
    stop.release()
    instances.forget(instanceOf(plan, sidecar, app))
    for (const kind of ['http', 'grpc'] as const) {
      const socket = socketPath(plan.settings, kind)
      if (socket) rmSync(socket, { force: true })
    }
  }
}

/** Ends what still runs and says how it went; the last lines are those that scripts wait for, in their order. */
async function end(sidecar: Managed, app: Managed | undefined, reporter: Reporter, asked: boolean): Promise<number> {
  const sidecarFailure = asked ? undefined : failed(sidecar.ending())
  const appEnding = asked ? undefined : app?.ending()
  const appFailure = failed(appEnding)
  if (asked) reporter.info('\nterminated signal received: shutting down')
  if (sidecarFailure) {
    reporter.failure(`The daprd process exited with error code: ${sidecarFailure}`)
    reporter.info('The last error of its log, above, says why.')
  }
  if (appEnding && appFailure) {
    reporter.failure(
      appEnding.code === null
        ? `The App process was terminated by ${appFailure}`
        : `The App process exited with error code: ${appEnding.code}`,
    )
  }

  await sidecar.stop(SIDECAR_GRACE)
  if (sidecarFailure) reporter.failure(`Error exiting Dapr: ${sidecarFailure}`)
  else reporter.success('Exited Dapr successfully')

  await app?.stop(APP_GRACE)
  if (appEnding && appFailure) {
    reporter.failure(
      `Error exiting App: ${appEnding.code === null ? `app terminated by ${appFailure}` : `app exited with status ${appEnding.code}`}`,
    )
  } else if (app) reporter.success('Exited App successfully')
  return sidecarFailure || appFailure ? 1 : 0
}

/** What to do with a sidecar that has no app beside it. */
function nextSteps({ settings }: Plan): string[] {
  const socket = socketPath(settings, 'http')
  const where = socket ? `--unix-socket ${socket} http://localhost` : `localhost:${settings.daprHttpPort}`
  return [
    `What it has:  curl ${where}/v1.0/metadata`,
    'With an app:  outrider run --app-id NAME --app-port PORT -- COMMAND',
    'Ctrl-C ends it.\n',
  ]
}

function failed(ending: Ending | undefined): string | undefined {
  return ending && failureOf(ending)
}
