import { isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { messageOf } from '../../errors.ts'
import { PRIORITIES } from '../../resources/security-rules-schema.ts'
import { compiled, itemsOf, type Names, type Test, UnsupportedError } from './condition.ts'
import { COMPARISONS, type Condition, LIST_COMPARISONS, parseCondition } from './condition-parser.ts'
import { possible, SEEN } from './possible.ts'

export interface Rule {
  name: string
  /** Index in PRIORITIES: 0 is the worst. */
  priority: number
  tags: readonly string[]
  output: string
  test: Test
}

export interface RuleSet {
  rules: readonly Rule[]
  /** Rules that are not seen here, with why, and with file and line. */
  skipped: readonly { name: string; at: string; why: string }[]
}

interface Draft {
  /** File and line. */
  at: string
  condition: string
  output: string
  priority: string
  tags: string[]
  enabled: boolean
  exceptions: Exception[]
}

interface Exception {
  name: string
  fields: unknown
  comps: unknown
  values: unknown[]
}

interface GivenRule {
  item: Readonly<Record<string, unknown>>
  at: string
  appends: (field: string) => boolean
  overrides: boolean
}

const MOST_ITEMS = 10_000

/** Reads files of Falco's rules, one after the other: later ones may add to earlier ones (`append`, `override`) or switch them off. */
export class RuleReader {
  readonly #lists = new Map<string, string[]>()
  readonly #macros = new Map<string, { condition: string; at: string }>()
  readonly #drafts = new Map<string, Draft>()
  #items = 0

  /** Throws an Error that names `file` and the item. */
  add(text: string, file: string): void {
    const lines = new LineCounter()
    const document = parseDocument(text, { lineCounter: lines, logLevel: 'silent' })
    const [wrong] = document.errors
    if (wrong) throw new Error(`${file} is no YAML: ${messageOf(wrong)}`)
    let items: unknown
    try {
      items = document.toJS({ maxAliasCount: 1000 })
    } catch (error) {
      throw new Error(`${file} is no YAML: ${messageOf(error)}`)
    }
    const nodes = isSeq(document.contents) ? (document.contents.items as (Node | null)[]) : []
    if (items === null || items === undefined) return
    if (!Array.isArray(items)) throw new Error(`${file} has to be a list of rules, macros and lists`)
    for (const [at, item] of items.entries()) {
      if (++this.#items > MOST_ITEMS) throw new Error(`${file}: more than ${MOST_ITEMS} rules, macros and lists`)
      const place = `${file}:${lines.linePos(nodes[at]?.range?.[0] ?? 0).line}`
      try {
        this.#item(item, place)
      } catch (error) {
        throw new Error(`${place}, item ${at + 1}: ${messageOf(error)}`)
      }
    }
  }

  /** All that are switched on and at least of this priority. Throws an Error that names the rule. */
  rules(minimum: number, unsupported: 'fail' | 'skip'): RuleSet {
    const rules: Rule[] = []
    const skipped: { name: string; at: string; why: string }[] = []
    const names = this.#names()
    for (const [name, draft] of this.#drafts) {
      if (!draft.enabled) continue
      try {
        const priority = priorityOf(draft.priority)
        if (priority > minimum) continue
        const condition = parseCondition(draft.condition)
        const test = compiled(condition, names, 0)
        if (!possible(condition, names))
          throw new UnsupportedError(`it asks for another evt.type than is seen here: ${[...SEEN].join(', ')}`)
        const exceptions = draft.exceptions.flatMap((exception) => exceptionOf(exception, names))
        const excepted = exceptions.map((condition) => compiled(condition, names, 0))
        rules.push({
          name,
          priority,
          tags: draft.tags,
          output: draft.output,
          test: excepted.length === 0 ? test : (event) => test(event) && !excepted.some((one) => one(event)),
        })
      } catch (error) {
        if (!(error instanceof UnsupportedError) || unsupported === 'fail')
          throw new Error(
            `rule "${name}" (${draft.at}): ${messageOf(error)}${error instanceof UnsupportedError ? '; leave it out, or say unsupported: skip' : ''}`,
          )
        skipped.push({ name, at: draft.at, why: error.message })
      }
    }
    return { rules, skipped }
  }

  #names(): Names {
    const parsed = new Map<string, Condition>()
    return {
      list: (name) => this.#lists.get(name),
      placeOf: (name) => this.#macros.get(name)?.at,
      macro: (name) => {
        const known = parsed.get(name)
        if (known) return known
        const macro = this.#macros.get(name)
        if (macro === undefined) return undefined
        try {
          const condition = parseCondition(macro.condition)
          parsed.set(name, condition)
          return condition
        } catch (error) {
          throw new Error(`macro ${name} (${macro.at}): ${messageOf(error)}`)
        }
      },
    }
  }

  #item(given: unknown, at: string): void {
    if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new Error('has to be a rule, a macro or a list')
    const item = given as Record<string, unknown>
    const override = (item.override ?? {}) as Record<string, unknown>
    const appends = (field: string) => item.append === true || override[field] === 'append'
    if ('required_engine_version' in item || 'required_plugin_versions' in item) return
    if (item.list !== undefined) {
      const name = String(item.list)
      // Falco puts items into conditions as they stand, quotes and all: '"10.0.0.0/8"' is the network.
      const items = listOf(item.items, 'items').map((one) => /^\s*(["'])(.*)\1\s*$/s.exec(one)?.[2] ?? one)
      this.#lists.set(name, appends('items') ? [...(this.#lists.get(name) ?? []), ...items] : items)
    } else if (item.macro !== undefined) {
      const name = String(item.macro)
      const condition = textOf(item.condition, 'condition')
      this.#macros.set(name, {
        condition: appends('condition') ? `${this.#macros.get(name)?.condition ?? ''} ${condition}` : condition,
        at,
      })
    } else if (item.rule !== undefined) this.#rule(String(item.rule), { item, at, appends, overrides: Object.keys(override).length > 0 })
    else throw new Error('is neither rule, macro nor list')
  }

  #rule(name: string, { item, at, appends, overrides }: GivenRule): void {
    if (item.source !== undefined && item.source !== 'syscall') return
    const known = this.#drafts.get(name)
    const changes = item.append === true || overrides || (item.enabled !== undefined && item.condition === undefined)
    if (changes && !known) throw new Error(`there is no rule "${name}" before it to change`)
    const draft: Draft = changes
      ? { ...(known as Draft) }
      : {
          at,
          condition: '',
          output: textOf(item.output, 'output'),
          priority: textOf(item.priority, 'priority'),
          tags: [],
          enabled: true,
          exceptions: [],
        }
    if (item.condition !== undefined || !changes) {
      const condition = textOf(item.condition, 'condition')
      draft.at = at
      draft.condition = appends('condition') ? `${draft.condition} ${condition}` : condition
    }
    if (item.output !== undefined && changes)
      draft.output = appends('output') ? `${draft.output} ${String(item.output)}` : String(item.output)
    if (item.priority !== undefined) draft.priority = String(item.priority)
    if (item.tags !== undefined) draft.tags = [...(appends('tags') ? draft.tags : []), ...listOf(item.tags, 'tags')]
    if (item.enabled !== undefined) draft.enabled = item.enabled !== false
    if (item.exceptions !== undefined) draft.exceptions = withExceptions(changes ? draft.exceptions : [], item.exceptions)
    this.#drafts.set(name, draft)
  }
}

function withExceptions(known: readonly Exception[], given: unknown): Exception[] {
  if (!Array.isArray(given)) throw new Error('exceptions has to be a list')
  const all = known.map((one) => ({ ...one, values: [...one.values] }))
  for (const one of given as Record<string, unknown>[]) {
    const name = textOf(one?.name, 'name of an exception')
    const values = Array.isArray(one.values) ? (one.values as unknown[]) : []
    const before = all.find((other) => other.name === name)
    if (before) before.values.push(...values)
    else all.push({ name, fields: one.fields, comps: one.comps, values })
  }
  return all
}

/** Conditions under any of which a rule says nothing. */
function exceptionOf({ name, fields, comps, values }: Exception, names: Names): Condition[] {
  if (fields === undefined) throw new Error(`exception ${name} has no fields`)
  if (!Array.isArray(fields)) {
    const items = values.flatMap((value) => (Array.isArray(value) ? value.map(String) : [String(value)]))
    return items.length === 0 ? [] : [single(String(fields), String(comps ?? 'in'), items, names)]
  }
  return values.map((row): Condition => {
    if (!Array.isArray(row) || row.length !== fields.length)
      throw new Error(`exception ${name}: each of values needs ${fields.length} of them`)
    const all = row.map((value: unknown, at) => {
      const how = String((Array.isArray(comps) ? comps[at] : undefined) ?? '=')
      return single(String(fields[at]), how, Array.isArray(value) ? value.map(String) : [String(value)], names)
    })
    return { kind: 'and', all }
  })
}

function single(text: string, how: string, items: readonly string[], names: Names): Condition {
  const [, name = '', argument] = /^([\w.]+)(?:\[([^\]]*)\])?$/.exec(text) ?? []
  const field = { name, argument, through: [] }
  const list = LIST_COMPARISONS.find((one) => one === how)
  if (list)
    return {
      kind: 'list',
      field,
      how: list,
      values: itemsOf(
        items.map((item) => item.replace(/^\((.*)\)$/, '$1')),
        names,
        0,
      ),
    }
  const compare = COMPARISONS.find((one) => one === how)
  if (!compare || items.length !== 1) throw new Error(`an exception cannot compare ${text} by ${how}`)
  return { kind: 'compare', field, how: compare, value: items[0] as string }
}

/** Throws when there is no such priority. */
export function priorityOf(text: string): number {
  const word = text.trim().toLowerCase()
  const at = (PRIORITIES as readonly string[]).indexOf(word === 'info' ? 'informational' : word)
  if (at < 0) throw new Error(`there is no priority ${text}; there is ${PRIORITIES.join(', ')}`)
  return at
}

function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string' || value.trim() === '') throw new Error(`${what} is missing`)
  return value
}

function listOf(value: unknown, what: string): string[] {
  if (!Array.isArray(value)) throw new Error(`${what} has to be a list`)
  return value.map(String)
}
