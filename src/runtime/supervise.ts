import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import { formatGoDuration } from '../go-duration.ts'
import type { Logger } from '../telemetry/log.ts'
import { Sidecar } from './sidecar.ts'

type Event = { kind: 'stop' } | { kind: 'force' } | { kind: 'reload' } | { kind: 'fatal'; error: unknown }

/**
 * Runs one sidecar until it is told to stop; gives the process's exit code.
 * SIGTERM and SIGINT drain; a second one, or a drain past its bound, ends at once with 1; SIGHUP restarts in place.
 */
export async function supervise(flags: DaprdFlags, log: Logger): Promise<number> {
  let wake: (event: Event) => void = () => {}
  let pending: Event | undefined
  const next = () =>
    new Promise<Event>((resolve) => {
      if (pending) resolve(pending)
      pending = undefined
      wake = resolve
    })
  const tell = (event: Event) => {
    pending = event
    wake(event)
  }
  let stopping = false
  const signal = (name: string) => () => {
    if (stopping) {
      log.warn(`Received signal '${name}' again; exiting without waiting for the rest`)
      process.exit(1)
    }
    stopping = true
    log.info(`Received signal '${name}'; beginning shutdown`)
    tell({ kind: 'stop' })
  }
  process.on('SIGTERM', signal('terminated'))
  process.on('SIGINT', signal('interrupt'))
  process.on('SIGHUP', () => {
    if (stopping) return
    log.info("Received signal 'hangup'; restarting the runtime")
    tell({ kind: 'reload' })
  })
  for (;;) {
    const sidecar = new Sidecar(flags, log, {
      shutdown: (force) => {
        if (force) {
          log.info('Force shutdown requested, exiting immediately without graceful shutdown')
          setTimeout(() => process.exit(1), 100)
          return
        }
        if (stopping) return
        stopping = true
        log.info('Shutdown requested via API')
        tell({ kind: 'stop' })
      },
    })
    const event = next()
    const started = sidecar.start().then(
      () => undefined,
      (error: unknown) => tell({ kind: 'fatal', error }),
    )
    const happened = await event
    if (happened.kind === 'fatal') {
      log.fatal(`Fatal error from runtime: ${messageOf(happened.error)}`)
      await drain(sidecar, 2000, log)
      return 1
    }
    if (happened.kind === 'stop' && flags.blockShutdownMs !== undefined) {
      log.info(`Blocking graceful shutdown for ${formatGoDuration(flags.blockShutdownMs)} or until app reports unhealthy...`)
      const why = await sidecar.untilUnhealthy(flags.blockShutdownMs)
      log.info(why === 'unhealthy' ? 'App reported unhealthy, entering shutdown...' : 'Block shutdown period expired, entering shutdown...')
    }
    const clean = await drain(sidecar, flags.gracefulShutdownMs, log)
    await Promise.race([started, new Promise((resolve) => setTimeout(resolve, 100))])
    if (happened.kind === 'reload') continue
    if (!clean) {
      log.error('Graceful shutdown timeout exceeded, forcing shutdown')
      return 1
    }
    log.info('Daprd shutdown gracefully')
    return 0
  }
}

/** True when the sidecar stopped within its bound. */
async function drain(sidecar: Sidecar, bound: number, log: Logger): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), bound)
  })
  const stopped = sidecar.stop(bound).then(
    () => true,
    (error: unknown) => {
      log.error(`error while stopping: ${messageOf(error)}`)
      return true
    },
  )
  const clean = await Promise.race([stopped, late])
  clearTimeout(timer)
  return clean
}
