import { messageOf } from '../errors.ts'

/** One entry of `spec.metrics.rules` of a Configuration. */
interface Rule {
  /** A metric, with or without the prefix `dapr_`. */
  name?: string
  labels?: { name?: string; regex?: Readonly<Record<string, string>> }[]
}

interface Replacement {
  pattern: RegExp
  by: string
}

/** Label values replaced by regular expression, so that few series stand for many. */
export class LabelRules {
  readonly #byLabel: ReadonlyMap<string, readonly Replacement[]>

  private constructor(byLabel: ReadonlyMap<string, readonly Replacement[]>) {
    this.#byLabel = byLabel
  }

  /** Undefined when there are none. Throws when an expression cannot be compiled; it names the metric and the label. */
  static from(rules: readonly Rule[]): LabelRules | undefined {
    const byLabel = new Map<string, Replacement[]>()
    for (const rule of rules) {
      for (const label of rule.labels ?? []) {
        const metric = plain(rule.name ?? '')
        const replacements = Object.entries(label.regex ?? {}).map(([by, source]) => {
          try {
            return { by: by.replaceAll(/\$\{(\w+)\}/g, '$<$1>'), pattern: new RegExp(source, 'g') }
          } catch (error) {
            throw new Error(
              `Configuration: spec.metrics.rules: the regex of label ${label.name} of metric ${rule.name} is not valid: ${messageOf(error)}`,
            )
          }
        })
        byLabel.set(`${metric} ${label.name}`, replacements)
      }
    }
    return byLabel.size > 0 ? new LabelRules(byLabel) : undefined
  }

  /** The rules that touch a metric; undefined when none does. */
  for(metric: string, labels: readonly string[]): LabelRules | undefined {
    const mine = new Map<string, readonly Replacement[]>()
    for (const label of labels) {
      const replacements = this.#byLabel.get(`${plain(metric)} ${label}`)
      if (replacements) mine.set(label, replacements)
    }
    return mine.size > 0 ? new LabelRules(mine) : undefined
  }

  /** Values with the rules of their labels applied; what is empty stays so. */
  apply(labels: readonly string[], values: readonly string[]): readonly string[] {
    return values.map((value, index) => {
      if (value === '') return value
      return (this.#byLabel.get(labels[index] as string) ?? []).reduce((text, { pattern, by }) => text.replace(pattern, by), value)
    })
  }
}

/** Rules may write a metric's name with slashes or underscores, and with Dapr's prefix or without. */
const plain = (name: string) => name.replace(/^dapr_/, '').replaceAll(/[/.]/g, '_')
