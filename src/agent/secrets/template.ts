import { FUNCTIONS, printed } from './template-functions.ts'
import { type Action, type Argument, type Node, parseTemplate } from './template-parser.ts'

/** What a template asks for. */
export interface TemplateSource {
  /** All values of a secret; rejects when there is none. */
  secret(name: string): Promise<Readonly<Record<string, unknown>>>
  env(name: string): string | undefined
}

/** Bytes that a template may become. */
const LARGEST = 4 << 20

interface Scope {
  dot: unknown
  variables: Readonly<Record<string, unknown>>
}

/** A template that was read, to be filled in as often as is wanted. Throws an Error with the line of what is wrong. */
export function compileTemplate(text: string): (source: TemplateSource) => Promise<string> {
  const nodes = parseTemplate(text)
  return async (source) => {
    const out = new Output()
    await run(nodes, { dot: {}, variables: {} }, source, out)
    return out.text
  }
}

class Output {
  text = ''

  add(part: string): void {
    this.text += part
    if (this.text.length > LARGEST) throw new Error(`it becomes more than ${LARGEST} bytes`)
  }
}

async function run(nodes: readonly Node[], scope: Scope, source: TemplateSource, out: Output): Promise<void> {
  for (const node of nodes) {
    if (node.kind === 'text') out.add(node.text)
    else if (node.kind === 'print') out.add(printed(await evaluate(node.value, scope, source)))
    else {
      const value = await evaluate(node.value, scope, source)
      const [first, second] = node.variables
      if (!truthy(value)) await run(node.otherwise, scope, source, out)
      else if (node.kind === 'if') await run(node.body, scope, source, out)
      else if (node.kind === 'with')
        await run(node.body, { dot: value, variables: { ...scope.variables, ...(first && { [first]: value }) } }, source, out)
      else {
        const rows = Array.isArray(value) ? [...value.entries()] : Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1))
        for (const [name, one] of rows) {
          const named = second ? { [first as string]: name, [second]: one } : first ? { [first]: one } : {}
          await run(node.body, { dot: one, variables: { ...scope.variables, ...named } }, source, out)
        }
      }
    }
  }
}

async function evaluate({ commands, line }: Action, scope: Scope, source: TemplateSource): Promise<unknown> {
  let piped: unknown[] = []
  try {
    for (const [name, ...rest] of commands) {
      const first = name as Argument
      const given = await Promise.all(rest.map((one) => argument(one, scope, source)))
      const all = [...given, ...piped]
      if (first.kind !== 'word') piped = [await argument(first, scope, source)]
      else if (first.word === 'secret') piped = [await secretOf(all.map(printed), source)]
      else if (first.word === 'env') piped = [source.env(printed(all[0])) ?? '']
      else {
        const call = Object.hasOwn(FUNCTIONS, first.word) ? FUNCTIONS[first.word] : undefined
        if (!call) throw new Error(`there is no function ${first.word}; there is secret, env, ${Object.keys(FUNCTIONS).join(', ')}`)
        piped = [call(all)]
      }
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw /^line \d/.test(message) ? error : new Error(`line ${line}: ${message}`)
  }
  return piped[0]
}

/** `secret "name"` is what Vault answers, `.Data.key` or `.Data.data.key`; `secret "name" "key"` is one value. */
async function secretOf([name = '', key]: readonly string[], source: TemplateSource): Promise<unknown> {
  // Vault's own path of the second version of its engine: the component knows the engine.
  const asked = /^[^/]+\/data\/(.+)$/.exec(name)?.[1] ?? name
  const values = await source.secret(asked)
  if (key === undefined) return { Data: { ...values, data: values } }
  if (!Object.hasOwn(values, key))
    throw new Error(`the secret ${name} has no ${key}; it has ${Object.keys(values).join(', ') || 'nothing'}`)
  return values[key]
}

async function argument(one: Argument, scope: Scope, source: TemplateSource): Promise<unknown> {
  if (one.kind === 'literal') return one.value
  if (one.kind === 'group') return evaluate(one.value, scope, source)
  if (one.kind === 'word') throw new Error(`${one.word} is neither a text in quotes nor a field`)
  let value: unknown = one.variable === undefined ? scope.dot : scope.variables[one.variable]
  if (one.variable !== undefined && !Object.hasOwn(scope.variables, one.variable)) throw new Error(`there is no variable $${one.variable}`)
  for (const name of one.path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name))
      throw new Error(
        `there is no .${one.path.join('.')}${typeof value === 'object' && value !== null ? `; there is ${Object.keys(value).join(', ') || 'nothing'}` : ''}`,
      )
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

function truthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0
  return typeof value === 'object' && value !== null ? Object.keys(value).length > 0 : Boolean(value)
}
