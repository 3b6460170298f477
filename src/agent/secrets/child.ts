import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { milliseconds } from '../../resources/agent-schema.ts'
import type { ChildSpec } from '../../resources/secret-files-schema.ts'
import type { RoleContext } from '../role.ts'
import { withoutOurs } from './after-change.ts'

const FIRST_WAIT = 500
const LONGEST_WAIT = 30_000
/** Milliseconds after which a start counts as one that worked. */
const WORKED = 10_000

/**
 * A supervised process: started → running → ended (by itself; started again, after growing waits, as `restart` says) → …,
 * or stopped by us. Its output is this process's own.
 */
export class Child implements AsyncDisposable {
  readonly #spec: ChildSpec
  readonly #context: RoleContext
  #process: ChildProcess | undefined
  #env: Readonly<Record<string, string>> = {}
  #timer: NodeJS.Timeout | undefined
  #wait = FIRST_WAIT
  #stopping = false
  starts = 0
  /** How it ended last; undefined: it runs, or was never started. */
  ended: number | string | undefined

  constructor(spec: ChildSpec, context: RoleContext) {
    this.#spec = spec
    this.#context = context
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** Starts it, with these variables besides our own. */
  start(env: Readonly<Record<string, string>>): void {
    this.#env = env
    this.#begin()
  }

  /** New variables: it is ended and started again, told by a signal, or left as it is. */
  async changed(env: Readonly<Record<string, string>>): Promise<void> {
    this.#env = env
    const { onChange = 'restart', signal = 'SIGHUP' } = this.#spec
    if (onChange === 'signal') this.signal(signal as NodeJS.Signals)
    if (onChange !== 'restart' || this.#stopping) return
    this.#context.log.info(`secrets changed: ${this.#spec.command[0]} is started again`)
    await this.#stop()
    this.#stopping = false
    this.#begin()
  }

  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal)
  }

  #begin(): void {
    const [program = '', ...args] = this.#spec.command
    clearTimeout(this.#timer)
    this.ended = undefined
    this.starts++
    const child = spawn(program, args, { stdio: 'inherit', env: { ...withoutOurs(this.#context.env), ...this.#env } })
    this.#process = child
    const began = performance.now()
    let over = false
    const end = (how: number | string) => {
      if (over) return
      over = true
      if (this.#process === child) this.#process = undefined
      if (this.#stopping) return
      this.ended = how
      const { restart = 'on-failure' } = this.#spec
      const again = restart === 'always' || (restart === 'on-failure' && how !== 0)
      if (performance.now() - began > WORKED) this.#wait = FIRST_WAIT
      this.#context.log.warn(`${program} ended with ${how}${again ? `; it is started again in ${this.#wait} ms` : ''}`)
      if (!again) return
      this.#timer = setTimeout(() => this.#begin(), this.#wait)
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT)
    }
    child.once('error', (error) => end(error.message))
    child.once('exit', (code, signal) => end(code ?? signal ?? 'an unknown end'))
  }

  async #stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    const child = this.#process
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), milliseconds(this.#spec.stopTimeout, '10s'))
    await exited
    clearTimeout(late)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stop()
  }
}
