import type { DaprdFlags } from '../cli/flags.ts'
import { messageOf } from '../errors.ts'
import { formatGoDuration } from '../go-duration.ts'
import type { Logger } from '../telemetry/log.ts'
import { Ports } from '../transport/ports.ts'
import { ReloadRecord } from './reload-record.ts'
import { Sidecar } from './sidecar.ts'

type Event = { kind: 'stop' } | { kind: 'restart' } | { kind: 'fatal'; error: unknown }

/**
 * Runs one sidecar until it is told to stop; gives the process's exit code.
 * SIGTERM and SIGINT drain; a second one, or a drain past its bound, ends at once with 1. SIGHUP takes changed resources over; a
 * changed Configuration makes the runtime anew in this process, with the same ports, unless it cannot be used.
 */
export async function supervise(flags: DaprdFlags, log: Logger): Promise<number> {
  const events = new Events()
  // While the runtime is made anew, connections wait at its ports.
  const lasting = { record: new ReloadRecord(), ports: new Ports() }
  let stopping = false
  let current: Sidecar | undefined
  const stop = (why: string) => {
    stopping = true
    log.info(why)
    events.tell({ kind: 'stop' })
  }
  const signal = (name: string) => () => {
    if (stopping) {
      log.warn(`Received signal '${name}' again; exiting without waiting for the rest`)
      process.exit(1)
    }
    stop(`Received signal '${name}'; beginning shutdown`)
  }
  process.on('SIGTERM', signal('terminated'))
  process.on('SIGINT', signal('interrupt'))
  process.on('SIGHUP', () => {
    if (stopping || !current) return
    log.info("Received signal 'hangup'; reloading")
    const asked = current
    asked
      .reload()
      .then((anew) => {
        if (anew && asked === current) events.tell({ kind: 'restart' })
      })
      .catch((error: unknown) => log.error(`the reload failed, what runs goes on: ${messageOf(error)}`))
  })
  for (;;) {
    const sidecar: Sidecar = new Sidecar(flags, log, lasting, {
      shutdown: (force, why = 'Shutdown requested via API') => {
        if (force) {
          log.info('Force shutdown requested, exiting immediately without graceful shutdown')
          setTimeout(() => process.exit(1), 100)
        } else if (!stopping) stop(why)
      },
      restart: () => {
        if (!stopping && sidecar === current) events.tell({ kind: 'restart' })
      },
      fatal: (error) => {
        if (!stopping) events.tell({ kind: 'fatal', error })
      },
    })
    current = sidecar
    const happening = events.next()
    const started = sidecar.start().then(
      () => {
        if (sidecar === current) lasting.ports.release()
      },
      (error: unknown) => {
        // What it says while it is being ended is of no interest to its successor.
        if (sidecar === current) events.tell({ kind: 'fatal', error })
      },
    )
    const happened = await happening
    current = undefined
    if (happened.kind === 'restart') lasting.ports.hold()
    else lasting.ports.release()
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
    if (happened.kind === 'restart') continue
    if (!clean) {
      log.error('Graceful shutdown timeout exceeded, forcing shutdown')
      return 1
    }
    log.info('Daprd shutdown gracefully')
    return 0
  }
}

/** One event at a time; one that comes while nobody waits is kept, a stop before anything else. */
class Events {
  #pending: Event | undefined
  #wake: ((event: Event) => void) | undefined

  next(): Promise<Event> {
    const pending = this.#pending
    this.#pending = undefined
    if (pending) return Promise.resolve(pending)
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  tell(event: Event): void {
    const wake = this.#wake
    this.#wake = undefined
    if (wake) wake(event)
    else if (this.#pending?.kind !== 'stop') this.#pending = event
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
