import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { messageOf } from '../../errors.ts'
import { milliseconds } from '../../resources/agent-schema.ts'
import { PRIORITIES, type SecurityRulesSpec } from '../../resources/security-rules-schema.ts'
import type { OpenRole, RoleContext } from '../role.ts'
import { alertOf } from './alert.ts'
import type { Value } from './fields.ts'
import { FileWatch, fileFields } from './file-watch.ts'
import { AlertOutputs } from './outputs.ts'
import { ProcessTable } from './process-table.ts'
import { RuleReader, type RuleSet } from './rules.ts'
import { SocketTable, socketFields } from './socket-table.ts'

/** Rules over processes, files and sockets, as far as they can be seen without the kernel's help. */
export const openSecurityRules: OpenRole = async (resource, context) => {
  const spec = resource.spec as SecurityRulesSpec
  const set = readRules(spec, resource.source.file)
  if (set.rules.length === 0)
    throw new Error(`no rule is left of ${set.skipped.length} that cannot be seen here: ${set.skipped[0]?.why ?? 'there is none'}`)
  for (const { name, at, why } of set.skipped) context.log.warn(`rule "${name}" (${at}) is left out: ${why}`)
  const watcher = new Watcher(spec, set, context)
  try {
    watcher.begin()
  } catch (error) {
    await watcher[Symbol.asyncDispose]()
    throw error
  }
  context.log.info(`${set.rules.length} rules hold, ${set.skipped.length} are left out`)
  return {
    status: () => watcher.status(),
    metrics: () => watcher.metrics(resource.name),
    [Symbol.asyncDispose]: () => watcher[Symbol.asyncDispose](),
  }
}

export function readRules(
  { rulesFiles = [], rules, minimumPriority = 'debug', unsupported = 'fail' }: SecurityRulesSpec,
  file: string,
): RuleSet {
  const reader = new RuleReader()
  for (const path of rulesFiles) reader.add(readFileSync(path, 'utf8'), path)
  if (rules !== undefined) reader.add(rules, `${file}, spec.rules`)
  return reader.rules(PRIORITIES.indexOf(minimumPriority), unsupported)
}

class Watcher implements AsyncDisposable {
  readonly #spec: SecurityRulesSpec
  readonly #set: RuleSet
  readonly #context: RoleContext
  readonly #processes: ProcessTable
  readonly #sockets: SocketTable
  readonly #outputs: AlertOutputs
  readonly #timers: NodeJS.Timeout[] = []
  readonly #host = hostname()
  /** Of the pod, where its environment tells; not with another machine's processes. */
  readonly #pod: Record<string, Value>
  readonly #matched = new Map<string, number>()
  #files: FileWatch | undefined
  #events: Record<string, number> = {}
  #tokens: number
  #filled = performance.now()
  #limited = 0
  #number = 0

  constructor(spec: SecurityRulesSpec, set: RuleSet, context: RoleContext) {
    this.#spec = spec
    this.#set = set
    this.#context = context
    const proc = spec.processes?.proc ?? '/proc'
    this.#processes = new ProcessTable(proc)
    const { NAMESPACE: namespace, POD_NAME: pod } = spec.processes?.proc === undefined ? context.env : {}
    this.#pod = { ...(namespace && { 'k8s.ns.name': namespace }), ...(pod && { 'k8s.pod.name': pod }) }
    this.#sockets = new SocketTable(proc)
    this.#outputs = new AlertOutputs(spec.outputs, context)
    this.#tokens = this.#burst
  }

  get #burst(): number {
    return (this.#spec.eventsPerSecond ?? 100) * 10
  }

  /** Throws when /proc cannot be read. */
  begin(): void {
    const { processes, sockets, files = [] } = this.#spec
    const look = (tell: boolean) =>
      this.#processes.look(performance.now(), (type, info) => {
        if (tell) this.#happened(type, this.#processes.fields(info))
      })
    try {
      look(processes?.existing ?? false)
    } catch (error) {
      throw new Error(`${processes?.proc ?? '/proc'} cannot be read (${messageOf(error)}): this role needs Linux`)
    }
    this.#every(processes?.interval, '100ms', () => look(true))
    const sees = () =>
      this.#sockets.look(
        () => this.#processes.pids(),
        (type, row, pid) => {
          const info = pid === undefined ? undefined : this.#processes.get(pid)
          this.#happened(type, { ...socketFields(type, row), ...(info ? this.#processes.fields(info) : { 'user.uid': row.uid }) })
        },
      )
    sees()
    this.#every(sockets?.interval, '1s', sees)
    if (files.length > 0) this.#files = new FileWatch(files, (type, path) => this.#happened(type, fileFields(type, path)))
    const missing = this.#files?.missing ?? []
    if (missing.length > 0) this.#context.log.warn(`${missing.join(', ')} cannot be watched: not there yet; it is looked for each second`)
  }

  /** Looks every so often, and less often where a look costs so much that it would be more than a twentieth of a core. */
  #every(interval: string | undefined, fallback: string, work: () => void): void {
    const pause = Math.max(10, milliseconds(interval, fallback))
    const at = this.#timers.length
    const look = () => {
      const before = process.cpuUsage()
      try {
        work()
      } catch (error) {
        this.#context.log.warn(`a look at ${this.#spec.processes?.proc ?? '/proc'} failed: ${messageOf(error)}`)
      }
      const { user, system } = process.cpuUsage(before)
      this.#timers[at] = setTimeout(look, Math.max(pause, (user + system) / 50)).unref()
    }
    this.#timers.push(setTimeout(look, pause).unref())
  }

  #happened(type: string, given: Record<string, Value>): void {
    this.#events[type] = (this.#events[type] ?? 0) + 1
    const at = Date.now()
    const time = new Date(at).toISOString()
    const fields = {
      'evt.num': ++this.#number,
      'evt.type': type,
      // Falco's rules ask for the end of a call; nothing is seen here before it.
      'evt.dir': '<',
      'evt.time': time.slice(11, -1),
      'evt.time.iso8601': time,
      'evt.datetime': time,
      'evt.rawtime': at * 1_000_000,
      'evt.hostname': this.#host,
      'evt.res': 'SUCCESS',
      'evt.rawres': 0,
      'evt.failed': false,
      ...this.#pod,
      ...given,
    }
    const event = { at, fields }
    for (const rule of this.#set.rules) {
      if (!rule.test(event)) continue
      this.#matched.set(rule.name, (this.#matched.get(rule.name) ?? 0) + 1)
      if (this.#allowed()) this.#outputs.give(alertOf(rule, event))
      else this.#limited++
    }
  }

  #allowed(): boolean {
    const now = performance.now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filled) / 1000) * (this.#spec.eventsPerSecond ?? 100))
    this.#filled = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  status(): Record<string, unknown> {
    return {
      rules: this.#set.rules.length,
      skipped: this.#set.skipped,
      processes: this.#processes.size,
      sockets: this.#sockets.size,
      files: this.#files?.size ?? 0,
      notThere: this.#files?.missing ?? [],
      seen: this.#events,
      matched: Object.fromEntries(this.#matched),
      dropped: this.#outputs.dropped + this.#limited,
    }
  }

  metrics(name: string): string {
    const row = (family: string, type: string, help: string, values: Iterable<readonly [labels: string, value: number]>) =>
      `# HELP outrider_security_${family} ${help}\n# TYPE outrider_security_${family} ${type}\n${[...values]
        .map(([labels, value]) => `outrider_security_${family}{name="${name}"${labels}} ${value}\n`)
        .join('')}`
    return (
      row('rules', 'gauge', 'Rules that hold.', [['', this.#set.rules.length]]) +
      row('rules_skipped', 'gauge', 'Rules that are left out: what they ask for is not seen here.', [['', this.#set.skipped.length]]) +
      row(
        'events_total',
        'counter',
        'What was seen.',
        Object.entries(this.#events).map(([type, count]) => [`,type="${type}"`, count] as const),
      ) +
      row(
        'matches_total',
        'counter',
        'Times a rule was met.',
        [...this.#matched].map(([rule, count]) => [`,rule=${JSON.stringify(rule)}`, count] as const),
      ) +
      row('dropped_total', 'counter', 'Events that went nowhere.', [
        [',reason="rate"', this.#limited],
        [',reason="output"', this.#outputs.dropped],
      ]) +
      row('unread_processes_total', 'counter', 'Processes that were gone before they could be read.', [['', this.#processes.missed]])
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#files?.[Symbol.dispose]()
    await this.#outputs[Symbol.asyncDispose]()
  }
}
