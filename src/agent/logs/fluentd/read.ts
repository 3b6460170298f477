import { globSync, readFileSync } from 'node:fs'
import { dirname, isAbsolute, join } from 'node:path'
import { messageOf } from '../../../errors.ts'
import type { Logger } from '../../../telemetry/log.ts'
import type { FilterSpec, OutputSpec, SourceSpec } from '../spec.ts'
import { bytesOf } from '../values.ts'
import { filtersOf } from './filters.ts'
import { outputsOf } from './outputs.ts'
import { parseFluentd } from './parse.ts'
import { FluentdError, type Place, type Section } from './section.ts'
import { sourceOf } from './sources.ts'

export interface FromFluentd {
  sources: SourceSpec[]
  filters: FilterSpec[]
  outputs: OutputSpec[]
  /** The largest total_limit_size. */
  maxBytes?: string
}

export interface ReadOptions {
  /** Relative paths are below it. */
  folder: string
  /** What a configuration without a file of its own is called in messages. */
  resource: string
  env: NodeJS.ProcessEnv
  log: Logger
}

/** Complaints in one message. */
const TOLD = 20

/**
 * Reads the common subset of Fluentd's configuration. Throws an Error with file and line of everything that is not acted on; with
 * `lenient` that is a warning each, and a section that is not understood at all is left out.
 */
export async function readFluentd(
  given: { file?: string; config?: string; lenient?: boolean },
  options: ReadOptions,
): Promise<FromFluentd> {
  const { folder, env, log } = options
  const file =
    given.file === undefined ? `${options.resource} (spec.fluentd.config)` : isAbsolute(given.file) ? given.file : join(folder, given.file)
  let text: string
  try {
    text = given.config ?? readFileSync(file, 'utf8')
  } catch (error) {
    throw new Error(`spec.fluentd.file: ${messageOf(error)}`)
  }
  const include = (pattern: string, place: Place) => filesOf(pattern, place, given.file === undefined ? folder : dirname(place.file))
  return translate(parseFluentd(text, { file, env, include }), given.lenient ?? false, (message) => log.warn(message))
}

/** What a configuration says; see readFluentd. */
export function translate(root: Section, lenient: boolean, warn: (message: string) => void): FromFluentd {
  const result: FromFluentd = { sources: [], filters: [], outputs: [] }
  const complaints: string[] = []
  /** Patterns of the matches so far: an event goes to the first that matches. */
  const before: string[] = []
  const step = (work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!(error instanceof FluentdError)) throw error
      complaints.push(error.message)
    }
  }
  for (const section of root.sections)
    step(() => {
      const except = before.length > 0 ? { except: before.join(' ') } : {}
      const match = section.argument || '**'
      switch (section.name) {
        case 'source':
          result.sources.push(sourceOf(section, warn))
          break
        case 'filter':
          for (const filter of filtersOf(section)) result.filters.push({ match, ...except, ...filter })
          break
        case 'match':
          for (const output of outputsOf(section)) result.outputs.push({ match, ...except, ...output })
          before.push(match)
          for (const owner of [section, ...section.all('store')]) {
            const size = owner.one('buffer')?.size('total_limit_size')
            if (size !== undefined && bytesOf(size, 0) > bytesOf(result.maxBytes, 0)) result.maxBytes = size
          }
          break
        case 'system':
          section.ignore('log_level')
          break
        default:
          throw new FluentdError(section.place, `<${section.name}> is not acted on`)
      }
      complaints.push(...[...section.rest()].map(({ message }) => message))
    })
  for (const parameter of root.parameters)
    complaints.push(new FluentdError(parameter, `${parameter.name} outside of a section is not acted on`).message)
  if (complaints.length > 0 && !lenient)
    throw new Error(
      `${complaints.slice(0, TOLD).join('\n')}${complaints.length > TOLD ? `\n… and ${complaints.length - TOLD} more` : ''}\nTake it out, or set spec.fluentd.lenient to go on without it`,
    )
  for (const complaint of complaints) warn(complaint)
  return result
}

function filesOf(pattern: string, place: Place, folder: string): { file: string; text: string }[] {
  if (/^https?:/.test(pattern)) throw new FluentdError(place, '@include reads files only')
  const path = isAbsolute(pattern) ? pattern : join(folder, pattern)
  const files = /[*?[{]/.test(path) ? globSync(path).sort() : [path]
  return files.map((file) => {
    try {
      return { file, text: readFileSync(file, 'utf8') }
    } catch (error) {
      throw new FluentdError(place, `@include: ${messageOf(error)}`)
    }
  })
}
