import { messageOf } from '../errors.ts'
import { type Change, changesBetween, keepUnreadable, keyOf, RELOADED, type ReloadedKind, sameResource } from '../resources/changes.ts'
import type { Resource, Resources } from '../resources/kinds.ts'
import type { Logger } from '../telemetry/log.ts'
import { ComponentInitError } from './component-status.ts'
import type { Lifecycle } from './lifecycle.ts'
import { McpServerError } from './mcp-server-check.ts'
import type { ReloadRecord } from './reload-record.ts'

/** How the resources of one kind take effect. */
export interface Applier {
  /** Brings one in, in place of `before`. Rejects when it cannot be used: then `before` goes on. */
  put(after: Resource, before: Resource | undefined): Promise<void>
  remove(before: Resource): Promise<void> | void
  /** After the changes of this kind, with all that are in force now. */
  commit?(all: readonly Resource[]): Promise<void>
  /** Those that are not what they read as any more: a secret was renewed. */
  stale?(all: readonly Resource[]): Promise<readonly Resource[]>
  /** Keeps what is unchanged before what is new before what changed, as metadata of daprd shows it; else the order of the files. */
  appends?: boolean
  /** Whether others of its kind may depend on it, so that it goes first and they are tried again after it. */
  leads?(resource: Resource): boolean
}

export interface ReloaderOptions {
  log: Logger
  lifecycle: Lifecycle
  record: ReloadRecord
  /** What is in force; kept up to date. */
  current: Resources
  /** Reads the folders. Rejects when what they hold makes no sense as a whole. */
  read(): Promise<Resources>
  appliers: Record<ReloadedKind, Applier>
  /** As daprd: a resource that cannot be used ends the process. Absent: what ran goes on. */
  onFatal?: ((error: Error) => void) | undefined
}

/**
 * Brings what runs in line with the resource folders. idle → pass (read, compare, apply kind by kind) → idle; a wish that comes
 * during a pass begins another one after it. What cannot be read or used leaves the version that runs, and says why: in the log
 * with file and line, among the reasons of health and metadata, in the counts.
 */
export class Reloader {
  readonly #options: ReloaderOptions
  readonly #log: Logger
  /** Versions that were refused, so that they are not tried at every pass, with the sentence about it. */
  readonly #refused = new Map<string, { kind: ReloadedKind; resource: Resource; told: string }>()
  #reasons = new Set<string>()
  #running: Promise<void> | undefined
  #wanted: 'no' | 'changes' | 'forced' = 'no'
  #ended = false

  constructor(options: ReloaderOptions) {
    this.#options = options
    this.#log = options.log.scope('dapr.runtime.hotreload')
  }

  /** Asks for a pass; `forced` also renews secrets and tries again what was refused. Resolves when no pass is due any more. */
  request(forced = false): Promise<void> {
    if (this.#ended) return Promise.resolve()
    this.#wanted = forced || this.#wanted === 'forced' ? 'forced' : 'changes'
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** No further pass begins; resolves when the one under way is over. */
  async end(): Promise<void> {
    this.#ended = true
    await this.#running
  }

  async #run(): Promise<void> {
    while (this.#wanted !== 'no' && !this.#ended) {
      const forced = this.#wanted === 'forced'
      this.#wanted = 'no'
      if (forced) this.#refused.clear()
      await this.#pass()
    }
  }

  async #pass(): Promise<void> {
    const { current, record, lifecycle } = this.#options
    let next: Resources
    try {
      next = await this.#options.read()
    } catch (error) {
      record.count('all', 'read', 'failure')
      const told = `the resource folders cannot be taken over, what runs goes on: ${messageOf(error)}`
      this.#log.error(told)
      lifecycle.reason('reload/folders', told)
      this.#reasons.add('reload/folders')
      this.#options.onFatal?.(new Error(messageOf(error).replace('failed to load components', 'failed to load resources from disk')))
      return
    }
    const reasons = new Map<string, string>()
    for (const { file, line, column, message, kind, name } of next.rejected)
      reasons.set(`reload/${file}:${line}`, `${kind ?? 'resource'} ${name ?? ''} at ${file}:${line}:${column} is refused: ${message}`)
    keepUnreadable(current, next)
    current.rejected = next.rejected
    const changes = changesBetween(current, next)
    for (const kind of Object.keys(RELOADED) as ReloadedKind[]) {
      if (this.#ended) return
      await this.#apply(
        kind,
        changes.filter((change) => change.kind === kind),
        next,
        reasons,
      )
    }
    for (const key of this.#reasons) if (!reasons.has(key)) lifecycle.reason(key, undefined)
    for (const [key, sentence] of reasons) lifecycle.reason(key, sentence)
    this.#reasons = new Set(reasons.keys())
  }

  async #apply(kind: ReloadedKind, all: readonly Change[], next: Resources, reasons: Map<string, string>): Promise<void> {
    const applier = this.#options.appliers[kind]
    const list = next[RELOADED[kind]] as readonly Resource[]
    const leads = ({ before, after }: Change) => applier.leads?.((after ?? before) as Resource) === true
    // Whoever failed for want of these gets another chance.
    if (all.some(leads)) this.#pardon(kind)
    const changes = [...all, ...(await this.#stale(kind, applier, list, all))]
    this.#dropAbandoned(kind, applier, list)
    const inForce = new Map<Resource, Resource | undefined>(list.map((resource) => [resource, resource]))
    let changed = false
    const run = async (change: Change) => {
      const refusal = await this.#change(applier, change)
      if (!refusal) changed = true
      else {
        if (change.after) inForce.set(change.after, refusal.inForce)
        reasons.set(`reload/${kind}/${change.name}`, refusal.told)
      }
    }
    for (const change of changes) if (!change.after || leads(change)) await run(change)
    await Promise.all(changes.filter((change) => change.after && !leads(change)).map(run))
    const rank = new Map(changes.map(({ after, action }) => [after, action === 'add' ? 1 : 2]))
    const order = applier.appends ? [...inForce].sort(([one], [other]) => (rank.get(one) ?? 0) - (rank.get(other) ?? 0)) : [...inForce]
    const adopted = order.map(([, resource]) => resource).filter((resource) => resource !== undefined)
    ;(this.#options.current as unknown as Record<string, readonly Resource[]>)[RELOADED[kind]] = adopted
    if (!changed || !applier.commit) return
    try {
      await applier.commit(adopted)
    } catch (error) {
      this.#log.error(`${kind} resources could not be put in force: ${messageOf(error)}`)
    }
  }

  /** Undefined when the change is in force; else why it was refused, and what is in force in its place. */
  async #change(applier: Applier, change: Change): Promise<{ told: string; inForce: Resource | undefined } | undefined> {
    const { kind, name, action, before, after } = change
    const { record, onFatal } = this.#options
    const key = refusalKey(change)
    const known = this.#refused.get(key)
    if (after && known && sameResource(known.resource, after)) return { told: known.told, inForce: before }
    try {
      if (after) await applier.put(after, before)
      else await applier.remove(before as Resource)
      this.#refused.delete(key)
      record.count(kind, action, 'success')
      this.#log.info(`${kind} ${name}: ${DONE[action]}${at(after)}`)
      return undefined
    } catch (error) {
      const told = `${kind} ${name}${at(after)} is refused${before && !onFatal ? ', the version before it goes on' : ''}: ${messageOf(error instanceof ComponentInitError ? error.cause : error)}`
      record.count(kind, action, 'failure')
      this.#log.error(told)
      if (after && this.#refused.size < MOST_REFUSED) this.#refused.set(key, { kind, resource: after, told })
      if (!onFatal || !after) return { told, inForce: before }
      await this.#asDaprd(applier, after, error as Error, onFatal)
      return { told, inForce: undefined }
    }
  }

  /** The version before does not go on, and the process ends unless the resource says otherwise. */
  async #asDaprd(applier: Applier, after: Resource, error: Error, onFatal: (error: Error) => void): Promise<void> {
    await applier.remove(after)
    const what = error instanceof McpServerError ? 'MCPServer' : 'component'
    if ((after as { ignoreErrors?: boolean }).ignoreErrors) this.#log.error(`Ignoring error processing ${what}: ${messageOf(error)}`)
    else if (error instanceof McpServerError || error instanceof ComponentInitError) {
      this.#log.warn(`Error processing ${what}, daprd will exit gracefully: ${messageOf(error)}`)
      onFatal(error)
    }
  }

  async #stale(kind: ReloadedKind, applier: Applier, list: readonly Resource[], changes: readonly Change[]): Promise<Change[]> {
    const unchanged = list.filter((resource) => !changes.some(({ after }) => after === resource))
    return ((await applier.stale?.(unchanged)) ?? []).map((resource) => ({
      kind,
      name: resource.name,
      action: 'change',
      before: resource,
      after: resource,
    }))
  }

  /** A version that was refused, and of which nothing is left in the folders. */
  #dropAbandoned(kind: ReloadedKind, applier: Applier, list: readonly Resource[]): void {
    const there = new Set(list.map((resource) => `${kind} ${keyOf(resource)}`))
    for (const [key, refused] of this.#refused) {
      if (refused.kind !== kind || there.has(key)) continue
      this.#refused.delete(key)
      void applier.remove(refused.resource)
    }
  }

  #pardon(kind: ReloadedKind): void {
    for (const [key, refused] of this.#refused) if (refused.kind === kind) this.#refused.delete(key)
  }
}

const MOST_REFUSED = 1000
const DONE: Record<Change['action'], string> = { add: 'added', change: 'changed', delete: 'removed' }

function refusalKey({ kind, after, before }: Change): string {
  return `${kind} ${keyOf((after ?? before) as Resource)}`
}

function at(resource: Resource | undefined): string {
  return resource ? ` (${resource.source.file}:${resource.source.line})` : ''
}
