import type { Rule } from './subscription.ts'

/** The path of the first rule that an event matches; undefined when none does. Throws when a rule cannot be evaluated. */
export type Router = (event: Readonly<Record<string, unknown>>) => string | undefined

/** Compiles the rules of one subscription. The CEL library is loaded when a rule has an expression. Rejects on invalid CEL. */
export async function compileRules(rules: readonly Rule[]): Promise<Router> {
  const compiled = await Promise.all(
    rules.map(async ({ match, path }) => ({ path, matches: match === '' ? undefined : await compile(match) })),
  )
  return (event) => compiled.find(({ matches }) => matches === undefined || matches(event))?.path
}

async function compile(expression: string): Promise<(event: Readonly<Record<string, unknown>>) => boolean> {
  const { Environment } = await import('@marcbachmann/cel-js')
  const environment = new Environment().registerVariable('event', 'dyn')
  const checked = environment.check(expression)
  if (!checked.valid) throw new Error(`invalid CEL expression "${expression}": ${checked.error?.message}`)
  const program = environment.parse(expression)
  return (event) => {
    const result: unknown = program({ event })
    if (typeof result !== 'boolean') throw new Error(`the result of match expression "${expression}" was not a boolean`)
    return result
  }
}
