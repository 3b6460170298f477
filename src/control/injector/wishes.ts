import { isTruthy, parseDuration } from '../../components/metadata.ts'
import { nearest } from '../../nearest.ts'
import { parseQuantity } from '../../quantity.ts'
import { ANNOTATIONS, type AnnotationSpec, PREFIXES } from './annotations.ts'

const BY_NAME = new Map(ANNOTATIONS.map((spec) => [spec.name, spec]))
const WHOLE = /^[+-]?\d+$/
/** Kubernetes takes at most so many bytes of warnings; what is wrong with more annotations is not told. */
const MOST_WARNINGS = 16

/** What a pod's annotations ask for, with the defaults of the table, and what is wrong with them. */
export class Wishes {
  readonly warnings: string[] = []
  readonly #values = new Map<string, string>()
  readonly #given = new Set<string>()
  /** The app id was written under our prefix, or anything that others look for. */
  readonly own: ReadonlySet<string>

  constructor(annotations: Readonly<Record<string, string>>) {
    const own = new Set<string>()
    for (const spec of ANNOTATIONS) {
      if (spec.default !== undefined) this.#values.set(spec.name, spec.default)
      const ours = annotations[PREFIXES.own + spec.name]
      const daprs = spec.own ? undefined : annotations[PREFIXES.dapr + spec.name]
      if (ours !== undefined) own.add(spec.name)
      if (ours !== undefined && daprs !== undefined && ours !== daprs)
        this.warn(`${PREFIXES.own}${spec.name} and ${PREFIXES.dapr}${spec.name} differ; the first one counts`)
      const text = ours ?? daprs
      if (text !== undefined) this.#take(spec, text, ours === undefined ? PREFIXES.dapr : PREFIXES.own)
    }
    this.own = own
    for (const key of Object.keys(annotations)) this.#mustBeKnown(key)
  }

  /** The annotation is there and usable. */
  given(name: string): boolean {
    return this.#given.has(name)
  }

  /** Empty when there is neither annotation nor default. */
  text(name: string): string {
    return this.#values.get(name) ?? ''
  }

  on(name: string): boolean {
    return isTruthy(this.#values.get(name))
  }

  /** Of an annotation with a default, or one that is there. */
  number(name: string): number {
    return Number(this.#values.get(name))
  }

  /** The value from now on, where there is none. */
  fallback(name: string, value: string): void {
    if (this.text(name) === '') this.#values.set(name, value)
  }

  warn(text: string): void {
    if (this.warnings.length < MOST_WARNINGS) this.warnings.push(text)
  }

  #take(spec: AnnotationSpec, raw: string, prefix: string): void {
    // Addresses come quoted when someone wanted to say "none".
    const text = spec.name.endsWith('-host-address') ? raw.replace(/^["']+|["']+$/g, '').trim() : raw
    const fault = faultOf(spec, text)
    if (fault) this.warn(`${prefix}${spec.name}: ${JSON.stringify(text)} ${fault}`)
    // As Dapr has it: what is no number is as if it were not there; other values go to the sidecar, which judges them itself.
    if (fault && (spec.kind === 'int' || spec.kind === 'port' || spec.kind === 'seconds')) return
    this.#values.set(spec.name, text)
    this.#given.add(spec.name)
  }

  #mustBeKnown(key: string): void {
    const prefix = Object.values(PREFIXES).find((each) => key.startsWith(each))
    if (prefix === undefined) return
    const name = key.slice(prefix.length)
    const spec = BY_NAME.get(name)
    if (spec && !(spec.own && prefix === PREFIXES.dapr)) return
    const near = nearest(name, BY_NAME.keys())
    this.warn(`${key} is no annotation of the injector and has no effect${near ? `; did you mean ${prefix}${near}?` : ''}`)
  }
}

/** What is wrong with a value, as the end of a sentence; undefined: nothing. */
function faultOf({ kind, form, min, max }: AnnotationSpec, text: string): string | undefined {
  if (kind === 'int' || kind === 'port' || kind === 'seconds') {
    const [least, most] =
      kind === 'port'
        ? [form === 'positive' ? 0 : 1, 65_535]
        : [min ?? (kind === 'seconds' ? 0 : Number.MIN_SAFE_INTEGER), max ?? 2 ** 31 - 1]
    if (!WHOLE.test(text)) return 'is no whole number; it is ignored'
    if (Number(text) < least || Number(text) > most) return `is not between ${least} and ${most}; it is ignored`
  }
  if (kind === 'bool' && text !== '' && !/^(y|yes|true|t|on|1|n|no|false|f|off|0)$/i.test(text.trim()))
    return 'is neither true nor false; it counts as false'
  if (kind === 'quantity' && text !== '' && parseQuantity(text) === undefined) return 'is no quantity such as 64Mi or 100m'
  if (kind === 'duration' && text !== '' && parseDuration(text) === undefined) return 'is no duration such as 5s or 1h30m'
  return undefined
}
