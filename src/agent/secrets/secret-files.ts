import { milliseconds } from '../../resources/agent-schema.ts'
import type { SecretFilesSpec } from '../../resources/secret-files-schema.ts'
import { pause } from '../../waiting.ts'
import { Needs } from '../needs.ts'
import type { OpenRole, RoleContext } from '../role.ts'
import { afterChange } from './after-change.ts'
import { Child } from './child.ts'
import { waitOf } from './expiry.ts'
import { Leases } from './leases.ts'
import { SecretFile } from './renderer.ts'
import { SecretReader } from './secret-reader.ts'

const FIRST_WAIT = 1000
const LONGEST_WAIT = 30_000

/** Secrets as files and as a child's environment: up when all of them are in place for the first time. */
export const openSecretFiles: OpenRole = async (resource, context) => {
  const spec = resource.spec as unknown as SecretFilesSpec
  const files = (spec.files ?? []).map((file) => new SecretFile(file, spec, context))
  const keeper = new Keeper(resource.name, spec, files, context)
  await keeper.begin()
  return {
    metrics: () => keeper.metrics(),
    status: () => keeper.status(),
    [Symbol.asyncDispose]: () => keeper[Symbol.asyncDispose](),
  }
}

class Keeper implements AsyncDisposable {
  readonly #name: string
  readonly #spec: SecretFilesSpec
  readonly #files: readonly SecretFile[]
  readonly #context: RoleContext
  readonly #needs: Needs
  readonly #stop = new AbortController()
  readonly #child: Child | undefined
  readonly #leases: Leases
  #env: Readonly<Record<string, string>> = {}
  #running: Promise<void> = Promise.resolve()
  #expiry: number | undefined
  #counts = { rounds: 0, failures: 0, changes: 0 }

  constructor(name: string, spec: SecretFilesSpec, files: readonly SecretFile[], context: RoleContext) {
    this.#name = name
    this.#spec = spec
    this.#files = files
    this.#context = context
    this.#needs = new Needs(context)
    this.#leases = new Leases(spec, context)
    if (spec.child) this.#child = new Child(spec.child, context)
  }

  /** Rejects when a secret or a file cannot be had: the files that are there stay as they are. */
  async begin(): Promise<void> {
    try {
      await this.#round()
    } catch (error) {
      // The next attempt asks for others.
      await this.#leases.release(true)
      throw error
    }
    this.#child?.start(this.#env)
    this.#running = this.#follow()
  }

  async #follow(): Promise<void> {
    const pace = {
      refresh: milliseconds(this.#spec.refresh, '5m'),
      renewBefore: this.#spec.renewBefore === undefined ? undefined : milliseconds(this.#spec.renewBefore, ''),
      jitter: (this.#spec.jitter ?? 10) / 100,
    }
    const { signal } = this.#stop
    const what = `secrets of ${this.#spec.secretStore}`
    const nextRound = () => Date.now() + waitOf(this.#expiry, Date.now(), pace)
    for (let retry = 0, due = nextRound(); ; ) {
      await pause(retry || Math.max(0, Math.min(due, this.#leases.due) - Date.now()), signal)
      if (signal.aborted) return
      try {
        const anew = await this.#leases.renew()
        if (anew || retry > 0 || Date.now() >= due) {
          await this.#round()
          due = nextRound()
        }
        retry = 0
        this.#needs.works(what)
      } catch (error) {
        if (signal.aborted) return
        this.#counts.failures++
        retry = Math.min(LONGEST_WAIT, retry ? retry * 2 : FIRST_WAIT)
        this.#needs.failed(what, error)
      }
    }
  }

  /** Reads all, and only then writes: files that belong together change together. */
  async #round(): Promise<void> {
    const { secretStore, child } = this.#spec
    const reader = new SecretReader(this.#context, this.#leases)
    const texts = await Promise.all(this.#files.map((file) => file.text(reader)))
    const env: Record<string, string> = {}
    for (const [name, { secret, key, secretStore: store = secretStore }] of Object.entries(child?.env ?? {}))
      env[name] = await reader.value(store, secret, key)
    this.#counts.rounds++
    const first = this.#counts.rounds === 1
    const expiries: number[] = []
    const changed: SecretFile[] = []
    for (const [at, file] of this.#files.entries()) {
      const written = file.write(texts[at] as string)
      if (written.expiry !== undefined) expiries.push(written.expiry)
      if (!written.changed) continue
      changed.push(file)
      this.#context.log.info(`${file.path} ${first ? 'is in place' : 'changed'}`)
    }
    this.#counts.changes += changed.length
    this.#expiry = expiries.length > 0 ? Math.min(...expiries) : undefined
    const envChanged = !first && JSON.stringify(env) !== JSON.stringify(this.#env)
    this.#env = env
    for (const file of changed) if (file.spec.afterChange) await afterChange(file.spec.afterChange, file.path, this.#context, this.#child)
    if (!first && (envChanged || changed.some(({ spec }) => !spec.afterChange))) await this.#child?.changed(env)
  }

  status(): Record<string, unknown> {
    return {
      files: this.#files.length,
      ...this.#counts,
      ...(this.#expiry !== undefined && { expires: new Date(this.#expiry).toISOString() }),
      ...(this.#leases.size > 0 && { leases: this.#leases.size }),
      ...(this.#child && { child: { pid: this.#child.pid ?? null, starts: this.#child.starts, ended: this.#child.ended ?? null } }),
    }
  }

  metrics(): string {
    const row = (name: string, type: string, help: string, value: number) =>
      `# HELP outrider_secretfiles_${name} ${help}\n# TYPE outrider_secretfiles_${name} ${type}\noutrider_secretfiles_${name}{name="${this.#name}"} ${value}\n`
    return (
      row('rounds_total', 'counter', 'Times all secrets were read.', this.#counts.rounds) +
      row('failures_total', 'counter', 'Times secrets could not be read or put in place.', this.#counts.failures) +
      row('changes_total', 'counter', 'Files that were put in place with another content.', this.#counts.changes) +
      (this.#spec.leases
        ? row('leases', 'gauge', 'Leases that are held.', this.#leases.size) +
          row('lease_renewals_total', 'counter', 'Times a lease was renewed.', this.#leases.renewals) +
          row('lease_fetches_total', 'counter', 'Times a leased secret was asked for.', this.#leases.fetches)
        : '') +
      (this.#child ? row('child_starts_total', 'counter', 'Times the child was started.', this.#child.starts) : '') +
      (this.#expiry === undefined
        ? ''
        : row(
            'expiry_seconds',
            'gauge',
            'When the first certificate or token in a file ends, epoch seconds.',
            Math.round(this.#expiry / 1000),
          ))
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#running
    await this.#child?.[Symbol.asyncDispose]()
    await this.#leases.release()
  }
}
