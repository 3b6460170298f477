import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { SecurityRulesSpec } from '../../resources/security-rules-schema.ts'
import { HttpClient } from '../../transport/http1/client.ts'
import { pause } from '../../waiting.ts'
import { Needs } from '../needs.ts'
import type { RoleContext } from '../role.ts'
import type { Alert } from './alert.ts'

/** Events that wait for one receiver; the oldest goes. */
const MOST_WAITING = 5000
/** Events in one request to a log pipeline. */
const BATCH = 100
const LONGEST_WAIT = 30_000

/** Where events go. Giving one never waits; what a receiver does not take in time is dropped and counted. */
export class AlertOutputs implements AsyncDisposable {
  readonly #spec: NonNullable<SecurityRulesSpec['outputs']>
  readonly #context: RoleContext
  readonly #client = new HttpClient({ connections: 1 })
  readonly #senders: Sender[] = []
  #size = 0
  fileFailures = 0

  constructor(spec: SecurityRulesSpec['outputs'], context: RoleContext) {
    this.#spec = { stdout: !spec?.file && !spec?.http && !spec?.logPipeline, ...spec }
    this.#context = context
    const { file, http, logPipeline } = this.#spec
    if (file) {
      mkdirSync(dirname(file.path), { recursive: true, mode: 0o700 })
      this.#size = statSync(file.path, { throwIfNoEntry: false })?.size ?? 0
    }
    const needs = new Needs(context)
    if (http) this.#senders.push(new Sender(this.#client, needs, http.url, http.headers ?? {}, 1))
    if (logPipeline) {
      const token = context.env.OUTRIDER_AGENT_TOKEN
      this.#senders.push(
        new Sender(
          this.#client,
          needs,
          logPipeline.url ?? 'http://127.0.0.1:9001/log',
          token ? { 'outrider-agent-token': token } : {},
          BATCH,
        ),
      )
    }
  }

  get dropped(): number {
    return this.#senders.reduce((sum, { dropped }) => sum + dropped, 0) + this.fileFailures
  }

  get failures(): number {
    return this.#senders.reduce((sum, { failures }) => sum + failures, 0)
  }

  give(alert: Alert): void {
    const line = JSON.stringify(alert)
    if (this.#spec.stdout) process.stdout.write(`${line}\n`)
    if (this.#spec.file) this.#write(this.#spec.file, `${line}\n`)
    for (const sender of this.#senders) sender.give(line)
  }

  #write({ path, maxBytes = 10 << 20 }: NonNullable<NonNullable<SecurityRulesSpec['outputs']>['file']>, line: string): void {
    try {
      if (this.#size > 0 && this.#size + line.length > maxBytes) {
        renameSync(path, `${path}.1`)
        this.#size = 0
      }
      appendFileSync(path, line, { mode: 0o600 })
      this.#size += Buffer.byteLength(line)
    } catch (error) {
      if (this.fileFailures++ === 0) this.#context.log.error(`events cannot be written to ${path}: ${String(error)}`)
    }
  }

  /** Gives receivers two seconds for what waits. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#senders.map((sender) => sender[Symbol.asyncDispose]()))
    await this.#client[Symbol.asyncDispose]()
  }
}

class Sender implements AsyncDisposable {
  readonly #client: HttpClient
  readonly #needs: Needs
  readonly #url: URL
  readonly #headers: Readonly<Record<string, string>>
  readonly #batch: number
  readonly #stop = new AbortController()
  #waiting: string[] = []
  #running: Promise<void> | undefined
  dropped = 0
  failures = 0

  constructor(client: HttpClient, needs: Needs, url: string, headers: Readonly<Record<string, string>>, batch: number) {
    this.#client = client
    this.#needs = needs
    this.#url = new URL(url)
    this.#headers = headers
    this.#batch = batch
  }

  give(line: string): void {
    if (this.#waiting.length >= MOST_WAITING) {
      this.#waiting.shift()
      this.dropped++
    }
    this.#waiting.push(line)
    this.#running ??= this.#send().finally(() => {
      this.#running = undefined
    })
  }

  async #send(): Promise<void> {
    const what = `the receiver of events at ${this.#url.host}`
    for (let wait = 500; this.#waiting.length > 0 && !this.#stop.signal.aborted; ) {
      const lines = this.#waiting.splice(0, this.#batch)
      try {
        const { status } = await this.#client.request({
          method: 'POST',
          url: this.#url,
          headers: { 'content-type': 'application/json', ...this.#headers },
          body: this.#batch === 1 ? lines[0] : `[${lines.join(',')}]`,
          signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(10_000)]),
          limit: 1 << 20,
          tooLarge: () => new Error('its answer is longer than 1 MiB'),
        })
        if (status < 200 || status > 299) throw new Error(`answers ${status}`)
        wait = 500
        this.#needs.works(what)
      } catch (error) {
        this.failures++
        // Back to the head, as far as there is room.
        const room = Math.max(0, MOST_WAITING - this.#waiting.length)
        this.dropped += Math.max(0, lines.length - room)
        this.#waiting.unshift(...lines.slice(lines.length - Math.min(room, lines.length)))
        if (this.#stop.signal.aborted) return
        this.#needs.failed(what, error)
        await pause(wait, this.#stop.signal)
        wait = Math.min(wait * 2, LONGEST_WAIT)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const late = setTimeout(() => this.#stop.abort(), 2000)
    await this.#running
    clearTimeout(late)
    this.dropped += this.#waiting.length
    this.#waiting = []
  }
}
