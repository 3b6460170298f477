import { createHash } from 'node:crypto'
import { isTree, type Tree } from './tree.ts'

/** What a flag is for one caller, in the words of OpenFeature. */
export type Evaluation =
  | { key: string; value: unknown; reason: 'STATIC' | 'TARGETING_MATCH' | 'SPLIT' | 'DISABLED'; variant?: string }
  | { key: string; errorCode: 'PARSE_ERROR' | 'TARGETING_KEY_MISSING' | 'FLAG_NOT_FOUND'; errorDetails: string }

/** Variant of a flag that is a mere value: some providers do not do without. */
const PLAIN = 'default'

/** What is known of the caller; `targetingKey` tells callers apart. */
export type EvaluationContext = Readonly<Record<string, unknown>>

/** The flag of this name, of the flags of a service. */
export function evaluate(flags: Tree, key: string, context: EvaluationContext): Evaluation {
  if (!Object.hasOwn(flags, key)) return { key, errorCode: 'FLAG_NOT_FOUND', errorDetails: `there is no flag ${key}` }
  const flag = flags[key]
  if (!isTree(flag) || !('variants' in flag)) return { key, value: flag, reason: 'STATIC', variant: PLAIN }
  const broken = (errorDetails: string): Evaluation => ({ key, errorCode: 'PARSE_ERROR', errorDetails: `flag ${key}: ${errorDetails}` })
  const { variants, defaultVariant, state = 'ENABLED', rules = [], targeting } = flag
  if (!isTree(variants)) return broken('variants has to be an object of values by name')
  if (isTree(targeting) && Object.keys(targeting).length > 0) return broken('targeting (JsonLogic) is not understood here: use rules')
  if (!Array.isArray(rules)) return broken('rules has to be a list')
  const result = (variant: unknown, reason: 'STATIC' | 'TARGETING_MATCH' | 'SPLIT' | 'DISABLED'): Evaluation =>
    typeof variant === 'string' && Object.hasOwn(variants, variant)
      ? { key, value: variants[variant], reason, variant }
      : broken(`there is no variant ${String(variant)}; there is ${Object.keys(variants).join(', ') || 'none'}`)
  if (state === 'DISABLED') return result(defaultVariant, 'DISABLED')
  for (const rule of rules) {
    if (!isTree(rule)) return broken('each rule has to be an object')
    const { when = emptyCondition, variant, split } = rule
    if (!isTree(when)) return broken('when has to be an object of attributes')
    if (!matches(when, context)) continue
    if (split === undefined) return result(variant, 'TARGETING_MATCH')
    if (!isTree(split) || !Object.values(split).every((share) => typeof share === 'number' && share >= 0))
      return broken('split has to be an object of shares by variant')
    const who = context.targetingKey
    if (typeof who !== 'string' || who === '')
      return { key, errorCode: 'TARGETING_KEY_MISSING', errorDetails: `flag ${key} is split by targetingKey: send one` }
    const chosen = shareOf(split as Record<string, number>, `${key}/${who}`)
    if (chosen !== undefined) return result(chosen, 'SPLIT')
  }
  return result(defaultVariant, 'STATIC')
}

/** All flags of a service, in the order of their names. */
export function evaluateAll(flags: Tree, context: EvaluationContext): Evaluation[] {
  return Object.keys(flags)
    .sort()
    .map((key) => evaluate(flags, key, context))
}

const emptyCondition: Tree = Object.create(null) as Tree

/** Every attribute has the value, or one of the values. */
function matches(when: Tree, context: EvaluationContext): boolean {
  return Object.entries(when).every(([attribute, wanted]) => {
    const given = Object.hasOwn(context, attribute) ? context[attribute] : undefined
    if (given === undefined || given === null) return false
    return (Array.isArray(wanted) ? wanted : [wanted]).some((one) => String(one) === String(given))
  })
}

/** The same caller has the same variant as long as the shares stay. */
function shareOf(split: Readonly<Record<string, number>>, who: string): string | undefined {
  const names = Object.keys(split).sort()
  const whole = names.reduce((sum, name) => sum + (split[name] as number), 0)
  const point = (createHash('sha256').update(who).digest().readUInt32BE(0) / 2 ** 32) * whole
  let below = 0
  for (const name of names) {
    below += split[name] as number
    if (point < below) return name
  }
  return undefined
}
