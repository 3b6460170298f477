import type { LogEvent } from '../event.ts'
import type { FilterSpec } from '../spec.ts'
import { tagMatcher } from '../tags.ts'
import { add } from './add.ts'
import { grep } from './grep.ts'
import { parse } from './parse.ts'
import { redact } from './redact.ts'
import { remove } from './remove.ts'
import { sample } from './sample.ts'

/** What becomes of an event: it stays (changed in place), is left out, or could not be read and goes to the dead letters with this reason. */
export type Verdict = 'keep' | 'leave' | { refused: string }

/** One filter. */
export type Filter = (event: LogEvent) => Verdict

export interface FilterContext {
  env: NodeJS.ProcessEnv
  /** An event was not of the format that it was to be read by, and stays as it is. */
  unparsed(count: number): void
}

/** Makes a filter of its spec. Throws for what makes no sense. */
export function filterOf(spec: FilterSpec, context: FilterContext): Filter {
  const filter = kindOf(spec, context)
  if (spec.match === undefined && spec.except === undefined) return filter
  const matches = tagMatcher(spec.match)
  const excepted = spec.except === undefined ? undefined : tagMatcher(spec.except)
  return (event) => (matches(event.tag) && !excepted?.(event.tag) ? filter(event) : 'keep')
}

function kindOf(spec: FilterSpec, context: FilterContext): Filter {
  if (spec.parse) return parse(spec.parse, context)
  if (spec.grep) return grep(spec.grep)
  if (spec.add) return add(spec.add, context)
  if (spec.remove) return remove(spec.remove)
  if (spec.redact) return redact(spec.redact)
  if (spec.sample) return sample(spec.sample)
  throw new Error('a filter needs one of parse, grep, add, remove, redact and sample')
}
