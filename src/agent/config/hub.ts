import type { ConfigServerSpec } from '../../resources/config-server-schema.ts'
import { pause } from '../../waiting.ts'
import { Needs } from '../needs.ts'
import type { RoleContext } from '../role.ts'
import { keepCopy, readCopy } from './copy.ts'
import type { Entry, Source } from './source.ts'
import { emptyTree, isTree, merged, redacted, type Tree, tagOf, treeOf } from './tree.ts'

/** What one service gets. */
export interface View {
  service: string
  config: Tree
  features: Tree
  configTag: string
  featuresTag: string
  /** Whether any source says something of it, or of what all share. */
  found: boolean
}

interface Held {
  source: Source
  entries: readonly Entry[] | undefined
  /** Epoch milliseconds at which the source gave them. */
  at: number
  away: string | undefined
  reads: number
  failures: number
}

const FIRST_WAIT = 500
const LONGEST_WAIT = 15_000
/** Milliseconds that opening waits for the sources. */
const PATIENCE = 5000
/** Services whose view is kept until something changes. */
const MOST_VIEWS = 1000

/** Follows the sources and puts together what each service gets. */
export class ConfigHub implements AsyncDisposable {
  readonly #spec: ConfigServerSpec
  readonly #context: RoleContext
  readonly #needs: Needs
  readonly #stop = new AbortController()
  readonly #held: readonly Held[]
  readonly #running: Promise<void>[] = []
  readonly #listeners = new Set<() => void>()
  readonly #views = new Map<string, View>()
  changes = 0

  constructor(spec: ConfigServerSpec, sources: readonly Source[], context: RoleContext) {
    this.#spec = spec
    this.#context = context
    this.#needs = new Needs(context)
    this.#held = sources.map((source) => ({ source, entries: undefined, at: 0, away: undefined, reads: 0, failures: 0 }))
  }

  /** Resolves when every source was read, or could not be, or {@link PATIENCE} is over. */
  async open(): Promise<void> {
    const first = this.#held.map((held, at) => {
      let done: () => void = () => {}
      const tried = new Promise<void>((resolve) => {
        done = resolve
      })
      this.#running.push(this.#follow(held, this.#spec.sources[at]?.name ?? '', done))
      return tried
    })
    await Promise.race([Promise.all(first), pause(PATIENCE, this.#stop.signal)])
  }

  /** Sources of which nothing is known, not even from before: what they would say is missing everywhere. */
  get missing(): string[] {
    return this.#held.filter(({ entries }) => !entries).map(({ source, away }) => `${source.what}${away ? `: ${away}` : ''}`)
  }

  /** Since when (epoch milliseconds) what is given may be out of date; undefined: it is not. */
  get staleSince(): number | undefined {
    const away = this.#held.filter((held) => held.away !== undefined && held.entries)
    return away.length > 0 ? Math.min(...away.map(({ at }) => at)) : undefined
  }

  get services(): string[] {
    const shared = this.#spec.shared ?? 'application'
    return [...new Set(this.#held.flatMap(({ entries }) => entries?.map(({ path }) => path[0] as string) ?? []))]
      .filter((service) => service !== shared)
      .sort()
  }

  get status() {
    return this.#held.map(({ source, entries, away, at, reads, failures }) => ({
      source: source.what,
      keys: entries?.length ?? 0,
      stale: away !== undefined,
      ...(at > 0 && { readAt: new Date(at).toISOString() }),
      reads,
      failures,
    }))
  }

  view(service: string): View {
    const known = this.#views.get(service)
    if (known) return known
    const { shared = 'application', features: part = 'features', redact = [] } = this.#spec
    let tree: Tree = emptyTree()
    let found = false
    for (const name of new Set([shared, service]))
      for (const { entries } of this.#held) {
        const own = treeOf(entries ?? [], name)
        if (!own) continue
        found = true
        tree = merged(tree, own) as Tree
      }
    const { [part]: flags, ...rest } = tree
    const config = redacted(Object.assign(emptyTree(), rest), redact) as Tree
    const features = isTree(flags) ? flags : emptyTree()
    const view = { service, config, features, configTag: tagOf(config), featuresTag: tagOf(features), found }
    if (this.#views.size >= MOST_VIEWS) this.#views.clear()
    this.#views.set(service, view)
    return view
  }

  /** Calls `listener` after each change until disposed. */
  listen(listener: () => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  async #follow(held: Held, name: string, tried: () => void): Promise<void> {
    const { signal } = this.#stop
    for (let wait = FIRST_WAIT; !signal.aborted; ) {
      try {
        const entries = await held.source.read(signal)
        held.reads++
        wait = FIRST_WAIT
        this.#take(held, name, entries)
      } catch (error) {
        if (signal.aborted) return
        held.failures++
        this.#failed(held, name, error)
        tried()
        await pause(wait, signal)
        wait = Math.min(wait * 2, LONGEST_WAIT)
        continue
      }
      tried()
      await held.source.wait(signal)
    }
  }

  #take(held: Held, name: string, entries: readonly Entry[]): void {
    const changed = !held.entries || tagOf(held.entries) !== tagOf(entries)
    const wasAway = held.away !== undefined
    held.away = undefined
    held.at = Date.now()
    this.#needs.works(held.source.what)
    if (changed) {
      held.entries = entries
      this.#changed()
    } else if (wasAway) this.#tell()
    if (!changed && !wasAway) return
    try {
      keepCopy(this.#context.dataDir(), name, { at: held.at, entries })
    } catch (error) {
      this.#context.log.warn(`${held.source.what} cannot be kept for times when it is away: ${String(error)}`)
    }
  }

  #failed(held: Held, name: string, error: unknown): void {
    this.#needs.failed(held.source.what, error)
    const first = held.away === undefined
    held.away = this.#needs.away.get(held.source.what) ?? ''
    if (!held.entries) {
      const copy = readCopy(this.#context.dataDir(), name)
      if (!copy) return
      held.entries = copy.entries
      held.at = copy.at
      this.#changed()
    } else if (first) this.#tell()
  }

  #changed(): void {
    this.#views.clear()
    this.changes++
    this.#tell()
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#running)
    await Promise.all(this.#held.map(({ source }) => source[Symbol.asyncDispose]()))
  }
}
