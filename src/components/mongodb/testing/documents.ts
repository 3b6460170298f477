type Value = unknown
export type Stored = Record<string, Value>

/** A refusal as the server words it. */
export class Refusal extends Error {
  readonly code: number
  readonly labels: readonly string[]
  constructor(code: number, message: string, labels: readonly string[] = []) {
    super(message)
    this.code = code
    this.labels = labels
  }
}

const TRANSIENT = ['TransientTransactionError']

/** What one transaction sees, and what it has written. */
export class View {
  readonly seen: Map<string, Stored>
  readonly written = new Map<string, Stored | undefined>()
  constructor(seen: Map<string, Stored>) {
    this.seen = seen
  }
}

/** Documents of one collection, with transactions that see the moment they began in and refuse to write over others. */
export class Documents {
  #all = new Map<string, Stored>()
  readonly #locks = new Map<string, { by: View; free: PromiseWithResolvers<void> }>()

  get all(): ReadonlyMap<string, Stored> {
    return this.#all
  }

  begin(): View {
    return new View(new Map(this.#all))
  }

  find(filter: Stored, view?: View): Stored[] {
    return [...this.#visible(view).values()].filter((document) => matches(document, filter))
  }

  async update(
    { q, u, upsert }: { q: Stored; u: Stored | Stored[]; upsert?: boolean },
    view?: View,
  ): Promise<{ n: number; upserted?: string }> {
    for (;;) {
      const [found] = this.find(q, view)
      const key = String(found?._id ?? q._id)
      if (!found && !upsert) return { n: 0 }
      if (await this.#isHeld(key, view)) continue
      if (!found && this.#visible(view).has(key)) throw new Refusal(11_000, `E11000 duplicate key error: ${key}`)
      this.#put(key, changed(found ?? { ...(q._id === undefined ? {} : { _id: q._id }) }, u), view)
      return found ? { n: 1 } : { n: 1, upserted: key }
    }
  }

  async insert(document: Stored, view?: View): Promise<void> {
    const key = String(document._id)
    while (await this.#isHeld(key, view));
    if (this.#visible(view).has(key)) throw new Refusal(11_000, `E11000 duplicate key error: ${key}`)
    this.#put(key, document, view)
  }

  async remove({ q, limit }: { q: Stored; limit: number }, view?: View): Promise<number> {
    for (;;) {
      const found = this.find(q, view).slice(0, Number(limit) || undefined)
      const held = []
      for (const { _id } of found) held.push(await this.#isHeld(String(_id), view))
      if (held.includes(true)) continue
      for (const { _id } of found) this.#put(String(_id), undefined, view)
      return found.length
    }
  }

  commit(view: View): void {
    for (const [key, document] of view.written) this.#set(key, document)
    this.release(view)
  }

  release(view: View): void {
    for (const [key, { by, free }] of [...this.#locks])
      if (by === view) {
        this.#locks.delete(key)
        free.resolve()
      }
  }

  #visible(view?: View): Map<string, Stored> {
    if (!view) return this.#all
    const all = new Map(view.seen)
    for (const [key, document] of view.written) {
      if (document) all.set(key, document)
      else all.delete(key)
    }
    return all
  }

  /** Writers outside of transactions wait; those inside are told to begin again. */
  async #isHeld(key: string, view?: View): Promise<boolean> {
    const lock = this.#locks.get(key)
    const conflict = view && ((lock && lock.by !== view) || (!view.written.has(key) && this.#all.get(key) !== view.seen.get(key)))
    if (conflict) throw new Refusal(112, 'WriteConflict error: this operation conflicted with another operation', TRANSIENT)
    if (!lock || lock.by === view) return false
    await lock.free.promise
    return true
  }

  #put(key: string, document: Stored | undefined, view?: View): void {
    if (!view) return this.#set(key, document)
    view.written.set(key, document)
    if (!this.#locks.has(key)) this.#locks.set(key, { by: view, free: Promise.withResolvers() })
  }

  #set(key: string, document: Stored | undefined): void {
    if (document) this.#all.set(key, document)
    else this.#all.delete(key)
  }
}

function changed(document: Stored, u: Stored | Stored[]): Stored {
  const next = { ...document }
  for (const stage of Array.isArray(u) ? u : [u]) {
    for (const [operator, fields] of Object.entries(stage)) {
      if (operator !== '$set' && operator !== '$addFields') throw new Refusal(9, `Unknown modifier: ${operator}`)
      for (const [name, value] of Object.entries(fields as Stored)) next[name] = Array.isArray(u) ? evaluated(value, next) : value
    }
  }
  return next
}

/** Expressions of aggregations, as far as these tests use them. */
function evaluated(expression: Value, document: Stored): Value {
  if (expression === '$$NOW') return new Date()
  if (typeof expression === 'string' && expression.startsWith('$')) return at(document, expression.slice(1))
  if (typeof expression !== 'object' || expression === null || Array.isArray(expression) || '_bsontype' in expression) return expression
  if (expression instanceof Date) return expression
  const [[operator, given] = ['', undefined]] = Object.entries(expression as Stored)
  if (operator === '$literal') return given
  const list = () => (given as Value[]).map((one) => evaluated(one, document))
  switch (operator) {
    case '$add': {
      const [date, more] = list()
      return new Date(Number(date) + Number(more))
    }
    case '$ifNull':
      return list().find((value) => value !== null && value !== undefined) ?? null
    case '$or':
      return list().some(Boolean)
    case '$eq':
      return compare(list()[0], list()[1]) === 0
    case '$gte':
      return order(list()[0], list()[1]) >= 0
    case '$lt':
      return order(list()[0], list()[1]) < 0
    default:
      throw new Refusal(168, `Unrecognized expression '${operator}'`)
  }
}

function matches(document: Stored, filter: Stored): boolean {
  return Object.entries(filter).every(([name, wanted]) => {
    if (name === '$and') return (wanted as Stored[]).every((one) => matches(document, one))
    if (name === '$or') return (wanted as Stored[]).some((one) => matches(document, one))
    if (name === '$expr') return evaluated(wanted, document) === true
    const value = at(document, name)
    return isOperators(wanted)
      ? Object.entries(wanted).every(([operator, given]) => suits(value, operator, given, wanted))
      : equals(value, wanted)
  })
}

function isOperators(wanted: Value): wanted is Stored {
  return typeof wanted === 'object' && wanted !== null && Object.keys(wanted).some((name) => name.startsWith('$'))
}

function suits(value: Value, operator: string, given: Value, all: Stored): boolean {
  switch (operator) {
    case '$eq':
      return equals(value, given)
    case '$ne':
      return !equals(value, given)
    case '$in':
      return (given as Value[]).some((one) => equals(value, one))
    case '$gt':
      return value !== undefined && compare(value, given) > 0
    case '$gte':
      return value !== undefined && compare(value, given) >= 0
    case '$lt':
      return value !== undefined && compare(value, given) < 0
    case '$lte':
      return value !== undefined && compare(value, given) <= 0
    case '$regex':
      return typeof value === 'string' && new RegExp(String(given), String(all.$options ?? '')).test(value)
    case '$options':
      return true
    default:
      throw new Refusal(2, `unknown operator: ${operator}`)
  }
}

function equals(value: Value, wanted: Value): boolean {
  return wanted === null ? value === null || value === undefined : compare(value, wanted) === 0
}

function at(document: Stored, path: string): Value {
  let value: Value = document
  for (const name of path.split('.')) value = (value as Stored | undefined | null)?.[name]
  return value
}

/** In aggregations nothing and null come before all else. */
function order(a: Value, b: Value): number {
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : -1
  return compare(a, b)
}

/** Numbers, texts and dates among each other; NaN: they do not compare. */
function compare(a: Value, b: Value): number {
  const [x, y] = [plain(a), plain(b)]
  if (typeof x === 'object' || typeof y === 'object' || typeof x !== typeof y)
    return JSON.stringify(x) === JSON.stringify(y) ? 0 : Number.NaN
  return (x as number) < (y as number) ? -1 : (x as number) > (y as number) ? 1 : 0
}

function plain(value: Value): Value {
  if (value instanceof Date) return value.getTime()
  return typeof value === 'object' && value !== null && '_bsontype' in value ? Number(value) : value
}

/** What `find` makes of the documents found. */
export function page(found: Stored[], { sort = {}, skip = 0, limit = 0, projection }: Stored): Stored[] {
  const by = Object.entries(sort as Record<string, unknown>)
  const value = (document: Stored, path: string) =>
    path.split('.').reduce<unknown>((inner, name) => (inner as Stored | undefined)?.[name], document)
  found.sort((a, b) => {
    for (const [path, direction] of by) {
      const sign = compare(value(a, path), value(b, path)) * Number(direction)
      if (sign) return sign
    }
    return 0
  })
  const from = Number(skip)
  const some = found.slice(from, Number(limit) ? from + Number(limit) : undefined)
  return projection ? some.map(({ _id }) => ({ _id })) : some
}
